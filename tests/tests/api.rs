//! The WsCluster resource against a real API server: which manifests it accepts and how it completes them, which it refuses
//! and in what words. Nothing of ours runs here but the CustomResourceDefinition.
//!
//! The table is data: `tests/api/*.cases`. `WSCLUSTER_BLESS=1` writes what the server says into it.

#[path = "api/cases.rs"]
mod cases;
#[path = "api/resource.rs"]
mod resource;
#[path = "api/server.rs"]
mod server;
#[path = "shared/cluster.rs"]
mod shared;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::cases::Table;
use crate::server::Server;

fn main() -> Result<ExitCode> {
    wscluster_tests::become_node_if_asked();
    let arguments = Arguments::from_args();
    let tables = Table::load_all()?;
    if arguments.list {
        // Names are known without a cluster.
        let trials = table_names(&tables).chain(resource::names()).map(|name| Trial::test(name, || Ok(())));
        return Ok(libtest_mimic::run(&arguments, trials.collect()).exit_code());
    }
    let server = Arc::new(Server::prepare()?);
    if std::env::var_os("WSCLUSTER_BLESS").is_some() {
        for table in tables {
            table.bless(|case| server.answer(case))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut trials = table_trials(&server, tables);
    trials.extend(resource::trials(&server));
    let conclusion = libtest_mimic::run(&arguments, trials);
    server.leave();
    Ok(conclusion.exit_code())
}

fn table_names(tables: &[Table]) -> impl Iterator<Item = String> {
    tables.iter().flat_map(Table::names)
}

fn table_trials(server: &Arc<Server>, tables: Vec<Table>) -> Vec<Trial> {
    let names: Vec<_> = table_names(&tables).collect();
    let cases = tables.into_iter().flat_map(|table| table.cases);
    let trial = |(name, case): (String, cases::Case)| {
        let server = Arc::clone(server);
        Trial::test(name, move || server.check(&case).map_err(|error| Failed::from(format!("{error:#}"))))
    };
    names.into_iter().zip(cases).map(trial).collect()
}
