//! Which programs make up a node, with their arguments and what each has to wait for. Pure; starts nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::configs::CONTAINERD_SOCKET;
use super::layout::{API_PORT, Layout, SERVICES, node_address, node_name};

/// What must be there before a component can start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// Nothing.
    None,
    /// Something listens on this address.
    Port(SocketAddr),
    /// This socket exists.
    Socket(PathBuf),
    /// The API server says that it is ready.
    Api,
    /// The API server is ready, and this socket exists.
    ApiAndSocket(PathBuf),
}

/// One program of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Component {
    /// Its name in status and logs.
    pub name: &'static str,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// What it waits for.
    pub gate: Gate,
    /// Whether it is over when it has succeeded, as opposed to one that goes on for as long as the node.
    pub task: bool,
}

/// Where the programs are.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Programs {
    /// Folder with the Kubernetes programs.
    pub kubernetes: PathBuf,
    /// Folder with `coredns`.
    pub coredns: PathBuf,
    /// The archive of the pause image.
    pub pause_image: PathBuf,
}

/// The programs of a node: the control plane too on node 1.
pub(super) fn of_node(layout: &Layout, programs: &Programs, node: u32) -> Vec<Component> {
    let mut all = if node == 1 { control_plane(layout, programs) } else { Vec::new() };
    all.extend(worker(layout, programs, node));
    all
}

fn control_plane(layout: &Layout, programs: &Programs) -> Vec<Component> {
    let etcd = SocketAddr::from((Ipv4Addr::LOCALHOST, 2379));
    let kubernetes = |name: &str| programs.kubernetes.join(name);
    vec![
        component("etcd", "etcd", etcd_arguments(layout), Gate::None),
        component("apiserver", kubernetes("kube-apiserver"), apiserver_arguments(layout), Gate::Port(etcd)),
        component("controllers", kubernetes("kube-controller-manager"), controllers_arguments(layout), Gate::Api),
        component("scheduler", kubernetes("kube-scheduler"), scheduler_arguments(layout), Gate::Api),
        component(
            "coredns",
            programs.coredns.join("coredns"),
            vec!["-conf".into(), text(&layout.node(1).join("Corefile"))],
            Gate::Api,
        ),
    ]
}

fn worker(layout: &Layout, programs: &Programs, node: u32) -> Vec<Component> {
    let folder = layout.node(node);
    let socket = || PathBuf::from(CONTAINERD_SOCKET);
    let kubernetes = |name: &str| programs.kubernetes.join(name);
    let import = vec!["-n".into(), "k8s.io".into(), "images".into(), "import".into(), text(&programs.pause_image)];
    vec![
        component("containerd", "containerd", vec!["-c".into(), text(&folder.join("containerd.toml"))], Gate::None),
        Component { task: true, ..component("pause-image", "ctr", import, Gate::Socket(socket())) },
        component(
            "kubelet",
            kubernetes("kubelet"),
            vec![
                flag("kubeconfig", &layout.pki().join(format!("{}.kubeconfig", node_name(node)))),
                flag("config", &folder.join("kubelet.json")),
                format!("--node-ip={}", node_address(node)),
                format!("--hostname-override={}", node_name(node)),
            ],
            Gate::ApiAndSocket(socket()),
        ),
        component("proxy", kubernetes("kube-proxy"), vec![flag("config", &folder.join("proxy.json"))], Gate::Api),
    ]
}

fn etcd_arguments(layout: &Layout) -> Vec<String> {
    let client = "http://127.0.0.1:2379";
    let peer = "http://127.0.0.1:2380";
    vec![
        flag("data-dir", &layout.node(1).join("etcd")),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        // A testbed does not survive the machine's crash anyway.
        "--unsafe-no-fsync".into(),
        "--logger=zap".into(),
        "--log-level=warn".into(),
    ]
}

fn apiserver_arguments(layout: &Layout) -> Vec<String> {
    let pki = |name: &str| layout.pki().join(name);
    let mut arguments = vec![
        "--etcd-servers=http://127.0.0.1:2379".into(),
        format!("--service-cluster-ip-range={SERVICES}"),
        format!("--advertise-address={}", node_address(1)),
        format!("--secure-port={API_PORT}"),
        "--authorization-mode=Node,RBAC".into(),
        "--allow-privileged".into(),
        // By name, `logs`, `exec` and `port-forward` would look for a DNS entry of the node.
        "--kubelet-preferred-address-types=InternalIP".into(),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        // Aggregated APIs (custom metrics) need these.
        "--enable-aggregator-routing".into(),
        "--requestheader-allowed-names=front-proxy".into(),
        "--requestheader-username-headers=X-Remote-User".into(),
        "--requestheader-group-headers=X-Remote-Group".into(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".into(),
        // Pods of a lost node are replaced within seconds, not after five minutes.
        "--default-not-ready-toleration-seconds=5".into(),
        "--default-unreachable-toleration-seconds=5".into(),
        "--audit-log-format=json".into(),
        "--profiling=false".into(),
    ];
    arguments.extend([
        flag("audit-policy-file", &layout.node(1).join("audit-policy.json")),
        flag("audit-log-path", &layout.audit_log()),
        flag("tls-cert-file", &pki("apiserver.crt")),
        flag("tls-private-key-file", &pki("apiserver.key")),
        flag("client-ca-file", &pki("ca.crt")),
        flag("kubelet-client-certificate", &pki("admin.crt")),
        flag("kubelet-client-key", &pki("admin.key")),
        flag("service-account-key-file", &pki("sa.pub")),
        flag("service-account-signing-key-file", &pki("sa.key")),
        flag("requestheader-client-ca-file", &pki("ca.crt")),
        flag("proxy-client-cert-file", &pki("front.crt")),
        flag("proxy-client-key-file", &pki("front.key")),
    ]);
    arguments
}

fn controllers_arguments(layout: &Layout) -> Vec<String> {
    let pki = |name: &str| layout.pki().join(name);
    vec![
        flag("kubeconfig", &pki("controllers.kubeconfig")),
        flag("authentication-kubeconfig", &pki("controllers.kubeconfig")),
        flag("authorization-kubeconfig", &pki("controllers.kubeconfig")),
        flag("service-account-private-key-file", &pki("sa.key")),
        flag("root-ca-file", &pki("ca.crt")),
        flag("cluster-signing-cert-file", &pki("ca.crt")),
        flag("cluster-signing-key-file", &pki("ca.key")),
        "--use-service-account-credentials".into(),
        // At the default rate it takes four seconds until all controllers have their accounts.
        "--kube-api-qps=500".into(),
        "--kube-api-burst=1000".into(),
        "--leader-elect=false".into(),
        // Three times as often as by default: what is tested is what it decides.
        "--horizontal-pod-autoscaler-sync-period=5s".into(),
        // A lost node is noticed after so long without a heartbeat.
        "--node-monitor-grace-period=16s".into(),
        "--node-monitor-period=2s".into(),
        "--profiling=false".into(),
    ]
}

fn scheduler_arguments(layout: &Layout) -> Vec<String> {
    let kubeconfig = layout.pki().join("scheduler.kubeconfig");
    vec![
        flag("kubeconfig", &kubeconfig),
        flag("authentication-kubeconfig", &kubeconfig),
        flag("authorization-kubeconfig", &kubeconfig),
        "--leader-elect=false".into(),
        "--profiling=false".into(),
    ]
}

fn component(name: &'static str, program: impl Into<PathBuf>, arguments: Vec<String>, gate: Gate) -> Component {
    Component { name, program: program.into(), arguments, gate, task: false }
}

fn flag(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(node: u32) -> Vec<&'static str> {
        let programs = Programs { kubernetes: "/k".into(), coredns: "/c".into(), pause_image: "/pause.tar".into() };
        let layout = Layout::at("/state/demo".into());
        of_node(&layout, &programs, node).iter().map(|component| component.name).collect()
    }

    #[test]
    fn only_node_1_runs_the_control_plane() {
        assert_eq!(names(2), ["containerd", "pause-image", "kubelet", "proxy"]);
        assert!(names(1).starts_with(&["etcd", "apiserver", "controllers", "scheduler", "coredns"]));
    }
}
