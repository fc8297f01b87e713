//! The settings files of a node's components, as pure functions. They say what differs from each component's defaults.

use serde_json::{Value, json};

use super::layout::{ALL_PODS, Layout, node_address, node_name, pod_range};

/// The image that holds a pod's namespaces.
pub(super) const PAUSE_IMAGE: &str = "wscluster.dev/pause:1";
/// containerd's socket, in the node's own empty /run.
pub(super) const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";

/// The kubelet's settings (a JSON document is YAML too).
pub(super) fn kubelet(layout: &Layout, node: u32) -> Value {
    let file = |name: String| layout.pki().join(name);
    let name = node_name(node);
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": false,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", layout.cgroup(node)),
        "enforceNodeAllocatable": [],
        "failSwapOn": false,
        // Without CAP_SYS_RESOURCE the default, -999, is refused.
        "oomScoreAdj": 0,
        "makeIPTablesUtilChains": false,
        "address": node_address(node).to_string(),
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": file("ca.crt".into())},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": file(format!("{name}.crt")),
        "tlsPrivateKeyFile": file(format!("{name}.key")),
        "containerRuntimeEndpoint": format!("unix://{CONTAINERD_SOCKET}"),
        "clusterDNS": [node_address(1).to_string()],
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        // A full disk must not evict what is being tested.
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "localStorageCapacityIsolation": false,
        "nodeStatusUpdateFrequency": "5s",
        // Changed ConfigMaps and Secrets reach a pod's files within seconds.
        "syncFrequency": "5s",
        "configMapAndSecretChangeDetectionStrategy": "Watch",
    })
}

/// kube-proxy's settings.
pub(super) fn proxy(layout: &Layout, node: u32) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": layout.pki().join("proxy.kubeconfig")},
        "clusterCIDR": ALL_PODS,
        "hostnameOverride": node_name(node),
        "bindAddress": node_address(node).to_string(),
        "oomScoreAdj": 0,
        // These are the machine's own, and not ours to change.
        "conntrack": {"maxPerCore": 0, "min": 0},
        "nftables": {"minSyncPeriod": "100ms", "syncPeriod": "30s"},
    })
}

/// containerd's settings.
pub(super) fn containerd(snapshotter: &str) -> String {
    format!(
        r#"version = 2
[plugins."io.containerd.grpc.v1.cri"]
  # Without CAP_SYS_RESOURCE a sandbox whose oom_score_adj is below its parent's cannot start.
  restrict_oom_score_adj = true
  sandbox_image = "{PAUSE_IMAGE}"
  cni = {{bin_dir = "/usr/lib/cni", conf_dir = "/etc/cni/net.d"}}
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "{snapshotter}"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
"#
    )
}

/// How pods get their network: a link of its own to the node for each, so that all traffic, also between pods of one node,
/// passes the node's rules (on a bridge, answers of a Service's pod on the same node would bypass them).
pub(super) fn pod_network(node: u32) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [{
            "type": "ptp",
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": pod_range(node)}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    })
}

/// CoreDNS's settings.
pub(super) fn corefile(layout: &Layout) -> String {
    let address = node_address(1);
    let kubeconfig = layout.pki().join("dns.kubeconfig");
    format!(
        ".:53 {{
    bind {address}
    errors
    health {address}:8053
    ready {address}:8181
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
        ttl 5
    }}
    cache 5
    loadbalance
}}
",
        kubeconfig = kubeconfig.display()
    )
}

/// What the API server writes to its audit log: who changed what, without bodies.
pub(super) fn audit_policy() -> Value {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "verbs": ["get", "list", "watch"]},
            {"level": "None", "users": ["system:apiserver"]},
            {"level": "Metadata"},
        ],
    })
}
