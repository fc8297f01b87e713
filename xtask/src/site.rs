//! The cluster that a command works on: the testbed, with our images in it, or one that the user has.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::signal::unix::{SignalKind, signal};
use wscluster_tests::cluster::{Cluster, ClusterOptions};
use wscluster_tests::{image, progress};

use crate::workspace::{VERSION, target};

/// A cluster to work on.
pub(crate) struct Site {
    kubeconfig: PathBuf,
    testbed: Option<Testbed>,
}

struct Testbed {
    cluster: Cluster,
    instance: String,
}

impl Site {
    /// The cluster of a kubeconfig; the images must be there, and this says how they get there.
    pub(crate) fn existing(kubeconfig: &Path) -> Result<Self> {
        let kubeconfig = std::path::absolute(kubeconfig)?;
        anyhow::ensure!(kubeconfig.exists(), "--kubeconfig: there is no file {}", kubeconfig.display());
        eprintln!("{}", how_to_load());
        Ok(Self { kubeconfig, testbed: None })
    }

    /// The testbed, started or found, with the images of this checkout on its nodes. With `lifeline` one that is
    /// started here ends with this process.
    pub(crate) fn testbed(instance: &str, lifeline: bool) -> Result<Self> {
        // First what says at once when the machine cannot do it; the images take minutes the first time.
        let cluster = Cluster::up(&ClusterOptions { instance: instance.to_owned(), nodes: 2, lifeline })?;
        for archive in images()? {
            cluster.import_image(&archive)?;
        }
        let testbed = Testbed { cluster, instance: instance.to_owned() };
        Ok(Self { kubeconfig: testbed.cluster.kubeconfig(), testbed: Some(testbed) })
    }

    /// A client with the rights of the kubeconfig.
    pub(crate) async fn client(&self) -> Result<Client> {
        let read = Kubeconfig::read_from(&self.kubeconfig)
            .with_context(|| format!("cannot read {}", self.kubeconfig.display()))?;
        let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    }

    /// Lets a test binary find the cluster.
    pub(crate) fn configure(&self, command: &mut Command) {
        command.env("KUBECONFIG", &self.kubeconfig);
        if let Some(testbed) = &self.testbed {
            command.env("WSCLUSTER_INSTANCE", &testbed.instance);
            command.env("WSCLUSTER_AUDIT_LOG", testbed.cluster.audit_log());
        }
    }

    /// The testbed, where there is one.
    pub(crate) fn cluster(&self) -> Option<&Cluster> {
        self.testbed.as_ref().map(|testbed| &testbed.cluster)
    }

    /// The kubeconfig of the cluster.
    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Takes down what [`Site::testbed`] started; a testbed that ran before, or a user's cluster, stays.
    pub(crate) fn leave(self) -> Result<()> {
        let Some(testbed) = self.testbed.filter(|testbed| !testbed.cluster.was_running()) else { return Ok(()) };
        let step = progress::Step::start("take the testbed down", None);
        drop(testbed.cluster);
        Cluster::down(&testbed.instance)?;
        step.done();
        Ok(())
    }
}

/// Does something on a testbed of that name; one that is started for it is taken down at the end, also when it is interrupted.
pub(crate) fn on_testbed<T>(instance: &str, work: impl AsyncFnOnce(&Site) -> Result<T>) -> Result<T> {
    let site = Site::testbed(instance, true)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(async {
        let (mut terminate, mut hang_up) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
        tokio::select! {
            outcome = work(&site) => outcome,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            _ = terminate.recv() => bail!("terminated"),
            _ = hang_up.recv() => bail!("hung up"),
        }
    });
    runtime.shutdown_background();
    site.leave()?;
    outcome
}

/// The product in two versions, for upgrades, and Redis.
fn images() -> Result<Vec<PathBuf>> {
    let product = image::product()?;
    let folder = target().join("image");
    let next = format!("{VERSION}-next");
    Ok(vec![product.write(&folder, VERSION, VERSION)?, product.write(&folder, &next, &next)?, image::redis()?])
}

fn how_to_load() -> String {
    format!(
        "The images must be on the cluster's nodes. Build them, and load them, once:\n\
         \x20 cargo xtask image && cargo xtask image --tag-suffix=-next\n\
         \x20 kind load image-archive target/image/wscluster-{VERSION}.tar      # and …-next.tar; or\n\
         \x20 k3d image import target/image/wscluster-{VERSION}.tar             # and …-next.tar; or\n\
         \x20 skopeo copy oci-archive:target/image/wscluster-{VERSION}.tar docker://<your registry>/…"
    )
}
