//! The project's own commands: demo, test, cluster, image, codegen.

fn main() {}
