//! Prints the CustomResourceDefinition as YAML.

fn main() {
    print!("{}", serde_yaml::to_string(&wscluster_crds::crd()).expect("a CRD serialises"));
}
