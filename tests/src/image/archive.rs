//! OCI image archives (the image layout of the OCI image specification 1.1 in a tar file), written and inspected.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use crate::digest::sha256;

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// An image of one layer.
#[derive(Clone, Debug)]
pub struct Image {
    name: String,
    command: Vec<String>,
    user: Option<String>,
    working_folder: Option<String>,
    labels: BTreeMap<String, String>,
}

impl Image {
    /// An image with a full name (registry, repository and tag) and the command that it runs by default.
    pub fn new(name: &str, command: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            user: None,
            working_folder: None,
            labels: BTreeMap::new(),
        }
    }

    /// Runs as this user, `uid:gid`.
    #[must_use]
    pub fn with_user(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    /// Runs in this folder.
    #[must_use]
    pub fn with_folder(mut self, folder: &str) -> Self {
        self.working_folder = Some(folder.to_owned());
        self
    }

    /// Has this label.
    #[must_use]
    pub fn with_label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Writes the archive. The same image and layer give the same bytes.
    pub fn write(&self, layer: &[u8], path: &Path) -> Result<()> {
        let config = Blob::new(CONFIG, self.config(&digest(layer)).to_string().into_bytes());
        let layer = Blob::new(LAYER, layer.to_vec());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor(),
            "layers": [layer.descriptor()],
            "annotations": self.labels,
        });
        let manifest = Blob::new(MANIFEST, manifest.to_string().into_bytes());
        let mut entry = manifest.descriptor();
        entry["platform"] = json!({"architecture": architecture(), "os": "linux"});
        entry["annotations"] = json!({
            "io.containerd.image.name": self.name,
            "org.opencontainers.image.ref.name": self.name.rsplit_once(':').map_or("latest", |(_, tag)| tag),
        });
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]});
        write_archive(path, &index, &[config, layer, manifest])
    }

    fn config(&self, layer: &str) -> Value {
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let mut config = json!({"Env": [format!("PATH={path}")], "Cmd": self.command, "Labels": self.labels});
        if let Some(user) = &self.user {
            config["User"] = json!(user);
        }
        if let Some(folder) = &self.working_folder {
            config["WorkingDir"] = json!(folder);
        }
        json!({
            "created": "1970-01-01T00:00:00Z",
            "architecture": architecture(),
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [layer]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "cargo xtask image"}],
        })
    }
}

/// What an archive holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// Its images.
    pub images: Vec<Listed>,
}

/// An image in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its full name.
    pub name: String,
    /// Its manifest's digest, by which two images are the same.
    pub digest: String,
}

impl Archive {
    /// Reads the names and digests of an archive.
    pub fn inspect(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        for entry in tar::Archive::new(file).entries()? {
            let mut entry = entry.with_context(|| format!("{} is not a tar archive", path.display()))?;
            if entry.path()? == Path::new("index.json") {
                let mut text = String::new();
                entry.read_to_string(&mut text)?;
                return Self::parse(&text).with_context(|| format!("cannot understand {}", path.display()));
            }
        }
        bail!("{} is not an OCI image archive: it has no index.json", path.display())
    }

    fn parse(index: &str) -> Result<Self> {
        let index: Value = serde_json::from_str(index)?;
        let listed = |manifest: &Value| {
            let name = manifest["annotations"]["io.containerd.image.name"].as_str()?.to_owned();
            Some(Listed { name, digest: manifest["digest"].as_str()?.to_owned() })
        };
        let manifests = index["manifests"].as_array().context("index.json lists no manifests")?;
        Ok(Self { images: manifests.iter().filter_map(listed).collect() })
    }
}

struct Blob {
    kind: &'static str,
    digest: String,
    bytes: Vec<u8>,
}

impl Blob {
    fn new(kind: &'static str, bytes: Vec<u8>) -> Self {
        Self { kind, digest: digest(&bytes), bytes }
    }

    fn descriptor(&self) -> Value {
        json!({"mediaType": self.kind, "digest": self.digest, "size": self.bytes.len()})
    }
}

fn write_archive(path: &Path, index: &Value, blobs: &[Blob]) -> Result<()> {
    let folder = path.parent().context("an archive is in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    let mut builder = Builder::new(file.as_file_mut());
    append(&mut builder, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    append(&mut builder, "index.json", index.to_string().as_bytes())?;
    let mut blobs: Vec<&Blob> = blobs.iter().collect();
    blobs.sort_by(|one, other| one.digest.cmp(&other.digest));
    for blob in blobs {
        append(&mut builder, &format!("blobs/{}", blob.digest.replace(':', "/")), &blob.bytes)?;
    }
    builder.into_inner()?.flush()?;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    file.persist(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

fn append(builder: &mut Builder<&mut File>, path: &str, bytes: &[u8]) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_size(bytes.len() as u64);
    Ok(builder.append_data(&mut header, path, bytes)?)
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256(bytes))
}

/// As Go, and so the OCI specification, calls it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(version: &str) -> Image {
        let name = format!("wscluster.dev/wscluster:{version}");
        Image::new(&name, &["/usr/bin/it"])
            .with_user("65532:65532")
            .with_label("org.opencontainers.image.version", version)
    }

    #[test]
    fn an_archive_written_twice_has_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
        image("1").write(b"layer", &one).unwrap();
        image("1").write(b"layer", &two).unwrap();
        assert_eq!(fs::read(one).unwrap(), fs::read(two).unwrap());
    }

    #[test]
    fn an_archive_tells_name_and_digest_and_another_label_is_another_digest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        image("1").write(b"layer", &path).unwrap();
        let first = Archive::inspect(&path).unwrap();
        assert_eq!(first.images[0].name, "wscluster.dev/wscluster:1");
        image("1").with_label("org.opencontainers.image.version", "2").write(b"layer", &path).unwrap();
        assert_ne!(Archive::inspect(&path).unwrap().images[0].digest, first.images[0].digest);
    }

    #[test]
    fn what_is_no_archive_is_refused_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "no tar").unwrap();
        assert!(Archive::inspect(&path).unwrap_err().to_string().contains("is not"));
    }
}
