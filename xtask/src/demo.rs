//! `cargo xtask demo`: the main job on real input. A Kubernetes, the operator, a WsCluster, live sessions through a rolling
//! upgrade, and a report. Exit 0 only if nothing was lost, doubled or reordered.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use kube::Client;
use wscluster_probe::{Report, Verdict};
use wscluster_tests::fleet::{self, Fleet, ProbePlan, ProbePod};
use wscluster_tests::progress::during;

use crate::site::Site;
use crate::workspace::{VERSION, root};

const NAMESPACE: &str = "wscluster-demo";
const CLUSTER: &str = "chat";
/// Not `kubectl delete -f charts/install.yaml`: that takes the custom resource along, and with it all WsClusters.
const REMOVE_OPERATOR: &str = "  kubectl delete namespace wscluster-system
  kubectl delete clusterrole,clusterrolebinding wscluster-operator";
const MINUTE: Duration = Duration::from_mins(1);

/// Shows a rolling upgrade under live sessions.
#[derive(Args)]
pub(crate) struct DemoArgs {
    /// Sessions that are held through the upgrade.
    #[arg(long, default_value_t = 500)]
    sessions: u32,
    /// Rooms that the sessions spread over.
    #[arg(long, default_value_t = 50)]
    rooms: u32,
    /// Messages published per second, over all rooms.
    #[arg(long, default_value_t = 100)]
    rate: u32,
    /// Write the report to this file as well, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Leave everything running at the end.
    #[arg(long)]
    keep: bool,
    /// Use this cluster (kind, k3d, a cloud) in place of the testbed.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Instance of the testbed.
    #[arg(long, default_value = "default")]
    instance: String,
}

/// Runs the demo.
pub(crate) fn run(args: &DemoArgs) -> Result<()> {
    if let Some(path) = &args.json {
        writable(path)?; // said before the work, not after it
    }
    let site = match &args.kubeconfig {
        Some(kubeconfig) => Site::existing(kubeconfig)?,
        None => Site::testbed(&args.instance, !args.keep)?,
    };
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(demonstrate(args, &site));
    if args.keep {
        look_around(&site, &args.instance)?;
    } else {
        runtime.block_on(clean(args, &site))?;
        site.leave()?;
        eprintln!("To look around in it next time: cargo xtask demo --keep");
    }
    let report = outcome?;
    if report.verdict == Verdict::Ok { Ok(()) } else { bail!("the upgrade was not seamless: see the report") }
}

async fn demonstrate(args: &DemoArgs, site: &Site) -> Result<Report> {
    let client = site.client().await?;
    let report = tokio::select! {
        report = through_an_upgrade(args, &client) => report?,
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
    };
    print!("\n{report}\n");
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_vec_pretty(&report)?)
            .with_context(|| format!("cannot write the report to {}", path.display()))?;
    }
    Ok(report)
}

async fn through_an_upgrade(args: &DemoArgs, client: &Client) -> Result<Report> {
    let fleet = Fleet::new(client.clone(), NAMESPACE, CLUSTER);

    during("install the custom resource and the operator", install(client)).await?;
    during("start Redis and apply examples/chat.yaml", deploy(client, &fleet)).await?;
    let url = fleet.endpoint(MINUTE).await?;

    let probe =
        during(&format!("connect {} sessions to {url}", args.sessions), connect(args, client, url.clone())).await?;
    let upgrade = async {
        fleet.set_image(&format!("wscluster.dev/wscluster:{VERSION}-next")).await?;
        fleet.wait_rolled_out(5 * MINUTE).await
    };
    let rolled = during("change the gateway's image while messages flow", upgrade).await;
    if let Err(error) = rolled {
        let status = probe.status().await;
        return Err(error.context(format!("the probe says {status:?}")));
    }
    let report = during("stop publishing and let everything arrive", probe.finish()).await?;
    probe.delete(MINUTE).await?;
    Ok(report)
}

/// On a cluster that stays, what the demo made in it goes.
async fn clean(args: &DemoArgs, site: &Site) -> Result<()> {
    if site.cluster().is_some_and(|testbed| !testbed.was_running()) {
        return Ok(()); // it goes as a whole
    }
    let client = site.client().await?;
    during("remove the demo's namespace", fleet::delete_namespace(&client, NAMESPACE, 3 * MINUTE)).await?;
    if args.kubeconfig.is_some() {
        eprintln!("The operator stays installed. To remove it:\n\n{REMOVE_OPERATOR}");
    }
    Ok(())
}

fn look_around(site: &Site, instance: &str) -> Result<()> {
    println!("It is still running. To look around:\n\n  export KUBECONFIG={}", site.kubeconfig().display());
    if let Some(testbed) = site.cluster() {
        let kubectl = testbed.kubectl();
        let address = testbed.forward_address(NAMESPACE, CLUSTER)?;
        let program = kubectl.get_program().to_string_lossy();
        println!("  alias kubectl={program}");
        println!("  kubectl -n {NAMESPACE} get wscluster,pods -o wide");
        println!("  npx wscat -c 'ws://{address}/ws?room=lobby'      # the load balancer, from this machine");
        let option = if instance == "default" { String::new() } else { format!(" --instance {instance}") };
        println!("\nTo take it down:\n\n  cargo xtask cluster down{option}");
    } else {
        println!("  kubectl -n {NAMESPACE} get wscluster,pods -o wide");
        println!("\nTo take it down:\n\n  kubectl delete namespace {NAMESPACE}\n{REMOVE_OPERATOR}");
    }
    Ok(())
}

async fn install(client: &Client) -> Result<()> {
    fleet::install_operator(client, &root().join("charts/install.yaml"), MINUTE).await
}

async fn deploy(client: &Client, fleet: &Fleet) -> Result<()> {
    fleet::delete_namespace(client, NAMESPACE, 2 * MINUTE).await?; // what an interrupted run may have left
    fleet::create_namespace(client, NAMESPACE).await?;
    fleet::apply_file(client, NAMESPACE, &root().join("examples/redis.yaml")).await?;
    fleet::apply_file(client, NAMESPACE, &root().join("examples/chat.yaml")).await?;
    fleet.wait_ready(2 * MINUTE).await?;
    Ok(())
}

async fn connect(args: &DemoArgs, client: &Client, url: String) -> Result<ProbePod> {
    let plan = ProbePlan {
        image: format!("wscluster.dev/wscluster:{VERSION}"),
        url,
        redis: "redis://redis:6379".to_owned(),
        sessions: args.sessions,
        rooms: args.rooms,
        rate: args.rate,
        connect_rate: 200,
        patience: ProbePlan::PATIENCE,
        mixed: false,
        detail: false,
        node: None,
    };
    let probe = ProbePod::start(client, NAMESPACE, "probe", &plan).await?;
    probe.wait_running(MINUTE).await?;
    Ok(probe)
}

fn writable(path: &Path) -> Result<()> {
    std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .map(drop)
        .with_context(|| format!("--json: cannot write to {}", path.display()))
}
