//! The testbed, the harness and the end-to-end tests.
