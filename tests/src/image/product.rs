//! The product's own image: the three programs of the workspace, built for release, with the libraries that they need.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::archive::Image;
use super::checkout;
use super::rootfs::Rootfs;

const REPOSITORY: &str = "wscluster.dev/wscluster";
const PROGRAMS: [&str; 3] = ["wscluster-operator", "wscluster-gateway", "wscluster-probe"];
const USER: u32 = 65532;

/// The product's image, ready to be written under one name or several.
#[derive(Clone, Debug)]
pub struct Product {
    rootfs: Rootfs,
    layer: Vec<u8>,
}

/// Builds the programs and collects the image's files.
pub fn product() -> Result<Product> {
    let programs = build()?;
    let mut rootfs = Rootfs::default();
    for name in PROGRAMS {
        rootfs.add_program(&format!("/usr/bin/{name}"), &programs.join(name))?;
    }
    rootfs.add_users(&[("wscluster", USER)]);
    let layer = rootfs.clone().into_layer()?;
    Ok(Product { rootfs, layer })
}

impl Product {
    /// Writes the files below a folder, for a Dockerfile to copy.
    pub fn write_rootfs(&self, folder: &Path) -> Result<()> {
        self.rootfs.write(folder)
    }

    /// Writes the archive of the image with a tag and a version label into a folder.
    pub fn write(&self, folder: &Path, tag: &str, version: &str) -> Result<PathBuf> {
        let path = folder.join(format!("wscluster-{tag}.tar"));
        let image = Image::new(&image_name(tag), &[])
            .with_user(&format!("{USER}:{USER}"))
            .with_label("org.opencontainers.image.title", "wscluster")
            .with_label("org.opencontainers.image.version", version)
            .with_label("org.opencontainers.image.licenses", "Apache-2.0")
            .with_label("org.opencontainers.image.source", env!("CARGO_PKG_REPOSITORY"));
        image.write(&self.layer, &path)?;
        Ok(path)
    }
}

/// The full name of the product's image with a tag.
pub fn image_name(tag: &str) -> String {
    format!("{REPOSITORY}:{tag}")
}

/// Builds in a target folder of its own: the flags differ from those of other release builds, and would undo them.
fn build() -> Result<PathBuf> {
    let target = target_folder().join("image");
    // Cargo shows its own progress.
    eprintln!("  building the image's programs for release (about five minutes at first)");
    let started = Instant::now();
    let mut command = crate::cargo::command();
    command.args(["build", "--release", "--locked"]);
    for name in PROGRAMS {
        command.args(["--package", name]);
    }
    command.current_dir(checkout()).env("CARGO_TARGET_DIR", &target).env("CARGO_INCREMENTAL", "0");
    command.env("CARGO_ENCODED_RUSTFLAGS", reproducible_flags()?).env_remove("RUSTFLAGS");
    let status = command.status().context("cannot run cargo")?;
    if !status.success() {
        bail!("the image's programs do not build ({status})");
    }
    eprintln!("  the image's programs are built ({:.1} s)", started.elapsed().as_secs_f64());
    Ok(target.join("release"))
}

/// No path of this machine gets into the programs.
fn reproducible_flags() -> Result<String> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo = home.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let checkout = checkout().canonicalize().context("cannot find the checkout")?;
    let mut flags = vec![format!("--remap-path-prefix={}=/wscluster", checkout.display())];
    if let Some(cargo) = cargo {
        flags.push(format!("--remap-path-prefix={}=/cargo", cargo.display()));
    }
    Ok(flags.join("\x1f"))
}

fn target_folder() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| checkout().join("target"), PathBuf::from)
}
