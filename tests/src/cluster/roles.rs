//! The roles in which the program that uses the testbed is started anew: a node's keeper, and its process 1.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

use super::layout::Layout;
use super::{inside, keeper};

/// What a process of the testbed does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Holds a node from outside: when it ends, so does the node.
    Keeper,
    /// Is process 1 of a node.
    Inside,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Keeper => "cluster-keeper",
            Self::Inside => "cluster-inside",
        }
    }

    /// The role that an argument names.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Keeper, Self::Inside].into_iter().find(|role| role.name() == name)
    }

    /// The arguments that start it.
    pub(crate) fn arguments(self, layout: &Layout, node: u32) -> [String; 3] {
        [self.name().to_owned(), layout.root().display().to_string(), node.to_string()]
    }

    /// The command that starts it.
    pub(crate) fn command(self, program: &Path, layout: &Layout, node: u32) -> Command {
        let mut command = Command::new(program);
        command.args(self.arguments(layout, node));
        command
    }
}

/// Plays the role that the arguments name, and ends the process; returns when they name none.
pub(crate) fn run_if_asked() {
    let arguments: Vec<String> = env::args().collect();
    let [_, role, root, node] = arguments.as_slice() else { return };
    let (Some(role), Ok(node)) = (Role::parse(role), node.parse()) else { return };
    let layout = Layout::at(PathBuf::from(root));
    let outcome = match role {
        Role::Keeper => keeper::run(&layout, node),
        Role::Inside => inside::run(&layout, node),
    };
    if let Err(error) = outcome {
        eprintln!("{error:#}");
        exit(1);
    }
    exit(0);
}
