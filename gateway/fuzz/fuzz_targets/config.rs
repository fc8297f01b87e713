//! Settings that are accepted are sound: they come into force, and written out they are the same settings.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wscluster_gateway::config::{Config, InForce};

fuzz_target!(|text: &str| {
    let Ok(config) = Config::parse(text) else { return };
    let written = serde_yaml::to_string(&config).expect("settings are YAML");
    let again = Config::parse(&written).expect("what was accepted is accepted again");
    assert_eq!(again, config);
    assert_eq!(again.hash(), config.hash());
    drop(InForce::from(config));
});
