//! `cargo xtask image`: the product's image as an OCI archive, or its files for the Dockerfile.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use wscluster_tests::image;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Folder for the archive
    #[arg(long, default_value = "target/image")]
    out: PathBuf,
    /// Appended to the version to make the tag: the same programs, as another version
    #[arg(long, default_value = "")]
    tag_suffix: String,
    /// The version label; by default the tag
    #[arg(long)]
    version_label: Option<String>,
    /// Write the image's files below this folder instead (what the Dockerfile copies)
    #[arg(long, conflicts_with_all = ["out", "tag_suffix", "version_label"])]
    rootfs: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let product = image::product()?;
    if let Some(folder) = &arguments.rootfs {
        product.write_rootfs(folder)?;
        println!("{}", folder.display());
        return Ok(ExitCode::SUCCESS);
    }
    let tag = format!("{}{}", env!("CARGO_PKG_VERSION"), arguments.tag_suffix);
    let version = arguments.version_label.as_deref().unwrap_or(&tag);
    let path = product.write(&arguments.out, &tag, version)?;
    println!("{}  {}", image::image_name(&tag), path.display());
    Ok(ExitCode::SUCCESS)
}
