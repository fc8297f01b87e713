//! The images that run in the testbed, made without Docker: the product's own, and the two that the tests need.

mod archive;
mod product;
mod rootfs;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

pub use archive::{Archive, Image, Listed};
pub use product::{Product, image_name, product};
pub use rootfs::Rootfs;

use crate::cache::{self, Lock};
use crate::cluster::pause_image_name;
use crate::digest;
use crate::packages::find_program;
use crate::tools::Tool;

/// Name of the Redis image: what a user's manifest would name.
pub const REDIS_IMAGE: &str = "docker.io/library/redis:7";

/// The archive of the pause image.
pub fn pause() -> Result<PathBuf> {
    let program = Tool::Pause.folder()?.join("pause");
    let mut rootfs = Rootfs::default();
    rootfs.add_file("/pause", &program, 0o755)?;
    let image = Image::new(pause_image_name(), &["/pause"]).with_user("65535:65535");
    cached("pause", rootfs, &image)
}

/// The archive of the Redis image, made of this machine's `redis-server` and `redis-cli` with the libraries they need.
pub fn redis() -> Result<PathBuf> {
    let mut rootfs = Rootfs::default();
    for name in ["redis-server", "redis-cli"] {
        let program =
            find_program(name).with_context(|| format!("{name} is not installed (apt-get install redis-server)"))?;
        rootfs.add_program(&format!("/usr/bin/{name}"), &program)?;
    }
    rootfs.add_folder("/data", 0o1777);
    rootfs.add_folder("/tmp", 0o1777);
    rootfs.add_users(&[("redis", 999)]);
    let command = ["redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--dir", "/data"];
    let image = Image::new(REDIS_IMAGE, &command).with_user("999:999").with_folder("/data");
    cached("redis", rootfs, &image)
}

/// Writes the archive into the cache, under a name that says what is in it.
fn cached(name: &str, rootfs: Rootfs, image: &Image) -> Result<PathBuf> {
    let layer = rootfs.into_layer()?;
    let mut hash = Sha256::new();
    hash.update(&layer);
    hash.update(format!("{image:?}"));
    let path = cache::folder().join("images").join(format!("{name}-{}.tar", digest::short(hash)));
    if !path.exists() {
        let _lock = Lock::take(&path.with_extension("lock"), || ())?;
        image.write(&layer, &path)?;
    }
    Ok(path)
}

/// The folder of the checkout.
pub(crate) fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}
