//! Keys, certificates and kubeconfigs of a testbed, made in process. Knows who takes part, not how it is started.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::{Value, json};

use super::layout::{API_PORT, KUBERNETES_SERVICE, Layout, node_address, node_name};

/// Makes everything for `nodes` nodes.
pub(super) fn create(layout: &Layout, nodes: u32) -> Result<()> {
    let folder = layout.pki();
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let authority = Authority::create(&folder)?;
    let node = node_address(1).to_string();
    let service = KUBERNETES_SERVICE.to_string();
    let names =
        ["127.0.0.1", &node, &service, "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
    authority.issue("apiserver", &Subject::new("kube-apiserver"), &names)?;
    let admin = Subject { name: "admin".into(), group: Some("system:masters".into()) };
    authority.issue("admin", &admin, &[])?;
    authority.issue("front", &Subject::new("front-proxy"), &[])?;
    for (file, user) in [
        ("controllers", "system:kube-controller-manager"),
        ("scheduler", "system:kube-scheduler"),
        ("proxy", "system:kube-proxy"),
    ] {
        authority.issue(file, &Subject::new(user), &[])?;
    }
    // CoreDNS reads Services and EndpointSlices of all namespaces, which the controller manager's role may as well.
    authority.issue("dns", &Subject::new("system:kube-controller-manager"), &[])?;
    for number in 1..=nodes {
        let name = node_name(number);
        let subject = Subject { name: format!("system:node:{name}"), group: Some("system:nodes".into()) };
        authority.issue(&name, &subject, &[&name, &node_address(number).to_string()])?;
    }
    let server = format!("https://{node}:{API_PORT}");
    let users = ["admin", "controllers", "scheduler", "proxy", "dns"].map(str::to_owned);
    for user in users.into_iter().chain((1..=nodes).map(node_name)) {
        kubeconfig(layout, &user, &server, &folder.join(format!("{user}.kubeconfig")))?;
    }
    let signing = KeyPair::generate()?;
    write_private(&folder.join("sa.key"), &signing.serialize_pem())?;
    fs::write(folder.join("sa.pub"), signing.public_key_pem())?;
    Ok(())
}

/// Writes a kubeconfig of one user for one server address, complete in itself.
pub(super) fn kubeconfig(layout: &Layout, user: &str, server: &str, path: &Path) -> Result<()> {
    let folder = layout.pki();
    let embed = |file: String| -> Result<String> {
        let path = folder.join(file);
        Ok(STANDARD.encode(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?))
    };
    let document = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "wscluster", "cluster": {
            "server": server, "certificate-authority-data": embed("ca.crt".into())?}}],
        "users": [{"name": user, "user": {
            "client-certificate-data": embed(format!("{user}.crt"))?,
            "client-key-data": embed(format!("{user}.key"))?}}],
        "contexts": [context(layout.instance(), user)],
        "current-context": context_name(layout.instance()),
    });
    write_private(path, &serde_yaml::to_string(&document)?)
}

fn context(instance: &str, user: &str) -> Value {
    json!({"name": context_name(instance), "context": {"cluster": "wscluster", "user": user}})
}

fn context_name(instance: &str) -> String {
    format!("wscluster-{instance}")
}

struct Subject {
    name: String,
    group: Option<String>,
}

impl Subject {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), group: None }
    }

    fn distinguished_name(&self) -> DistinguishedName {
        let mut name = DistinguishedName::new();
        if let Some(group) = &self.group {
            name.push(DnType::OrganizationName, group.as_str());
        }
        name.push(DnType::CommonName, self.name.as_str());
        name
    }
}

struct Authority<'a> {
    folder: &'a Path,
    issuer: Issuer<'static, KeyPair>,
}

impl<'a> Authority<'a> {
    fn create(folder: &'a Path) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = Subject::new("wscluster-testbed").distinguished_name();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        fs::write(folder.join("ca.crt"), params.self_signed(&key)?.pem())?;
        write_private(&folder.join("ca.key"), &key.serialize_pem())?;
        Ok(Self { folder, issuer: Issuer::new(params, key) })
    }

    fn issue(&self, file: &str, subject: &Subject, names: &[&str]) -> Result<()> {
        let key = KeyPair::generate()?;
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = subject.distinguished_name();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer)?;
        fs::write(self.folder.join(format!("{file}.crt")), certificate.pem())?;
        write_private(&self.folder.join(format!("{file}.key")), &key.serialize_pem())
    }
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let _ = fs::remove_file(path);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}
