//! Flags and environment, and what they make of the settings. A flag is above the environment, which is above the file,
//! which is above the defaults.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::affinity::NO_REVISION;
use crate::affinity::cookie::is_word;
use crate::auth::ApiKeys;
use crate::config::{Config, ConfigError, watch};
use crate::log::redis::{Address, AddressError};
use crate::tls;

/// The WebSocket gateway of WsCluster.
#[derive(Debug, Parser)]
#[command(name = "wscluster-gateway", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve (the default)
    Serve(Serve),
    /// Drain the gateway of this machine or pod, and wait until it is empty or its deadline has passed
    Drain(DrainArgs),
    /// Print the settings in force, secrets masked
    Config(Serve),
}

/// Settings of `serve`.
#[derive(Clone, Debug, Args)]
pub struct Serve {
    /// Where clients come in, over TLS if the settings file says so (tls)
    /// [default: 127.0.0.1:8080, in a pod 0.0.0.0:8080]
    #[arg(long, env = "WSCLUSTER_LISTEN", value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Where other gateways of the cluster bring clients that were here before. Takes --admin-token-file, by which they
    /// prove themselves [default: nowhere]
    #[arg(long, env = "WSCLUSTER_PEER_LISTEN", value_name = "ADDRESS")]
    pub peer_listen: Option<SocketAddr>,
    /// Where health, metrics and drain are served, never over TLS: not for clients
    /// [default: 127.0.0.1:9090, in a pod 0.0.0.0:9090]
    #[arg(long, env = "WSCLUSTER_ADMIN_LISTEN", value_name = "ADDRESS")]
    pub admin_listen: Option<SocketAddr>,
    /// Redis that joins the gateways, redis://[user:password@]host[:port][/db], rediss:// for TLS,
    /// redis+sentinel://host[:port],…/master[/db] or redis+cluster://host[:port],…; without it rooms live in this process
    #[arg(long, env = "WSCLUSTER_REDIS_URL", value_name = "URL", hide_env_values = true)]
    pub redis: Option<String>,
    /// Settings file (YAML), followed while running: limits, tokens, TLS, trusted proxies, drain
    #[arg(long, env = "WSCLUSTER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Unix socket for `wscluster-gateway drain`
    #[arg(long, env = "WSCLUSTER_SOCKET", value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// File with the token that admin calls which change something must show
    #[arg(long, env = "WSCLUSTER_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// File with the keys of the HTTP API, one a line, followed while running
    /// [default: /etc/wscluster/keys/api-key where it exists]
    #[arg(long, env = "WSCLUSTER_API_KEY_FILE", value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
    /// Name of this gateway in `welcome` [default: the host's name]
    #[arg(long, env = "WSCLUSTER_POD_NAME", value_name = "NAME")]
    pub node: Option<String>,
    /// Revision of the fleet that this gateway is of: clients are forwarded to gateways of the same one
    #[arg(long, env = "WSCLUSTER_REVISION", value_name = "NAME", value_parser = parse_revision)]
    pub revision: Option<String>,
    /// Serve an example chat page under /demo/
    #[arg(long, env = "WSCLUSTER_DEMO")]
    pub demo: bool,
    /// Threads that serve connections [default: the cores that this process may use]
    #[arg(long, env = "WSCLUSTER_SHARDS", value_name = "COUNT", value_parser = parse_shards)]
    pub shards: Option<usize>,
}

/// Settings of `drain`.
#[derive(Clone, Debug, Args)]
pub struct DrainArgs {
    /// Unix socket of the gateway
    #[arg(long, env = "WSCLUSTER_SOCKET", value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Seconds that clients have to move [default: the gateway's settings]
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
}

/// Why the gateway cannot start with these settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The settings file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// `--redis`.
    #[error("--redis: {0}")]
    Redis(#[from] AddressError),
    /// `--peer-listen`.
    #[error("--peer-listen needs --admin-token-file: gateways prove themselves to each other by the token in it")]
    Peer,
    /// The files of `tls`.
    #[error("tls: {0}")]
    Tls(String),
    /// `--admin-token-file` or `--api-key-file`.
    #[error("{flag} {}: {reason}", path.display())]
    Token {
        /// The flag.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

/// Settings that are read once.
#[derive(Debug)]
pub struct Settings {
    /// Where clients come in.
    pub listen: SocketAddr,
    /// Where operators come in.
    pub admin_listen: SocketAddr,
    /// Where other gateways come in.
    pub peer_listen: Option<SocketAddr>,
    /// Where rooms are.
    pub redis: Option<Address>,
    /// The settings file.
    pub config_file: Option<PathBuf>,
    /// What it says.
    pub config: Config,
    /// The socket for `drain`.
    pub socket: PathBuf,
    /// The admin token.
    pub admin_token: Option<String>,
    /// File with the keys of the HTTP API.
    pub api_key_file: Option<PathBuf>,
    /// Name of this gateway.
    pub node: String,
    /// The revision of the fleet that it is of.
    pub revision: String,
    /// Threads that serve connections.
    pub shards: usize,
    /// Serve the example page.
    pub demo: bool,
}

impl Cli {
    /// What to do; `serve` when nothing was said.
    pub fn command(self) -> Command {
        self.command.unwrap_or(Command::Serve(self.serve))
    }
}

fn in_pod() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

fn default_listen(port: u16) -> SocketAddr {
    let host = if in_pod() { [0, 0, 0, 0] } else { [127, 0, 0, 1] };
    (host, port).into()
}

/// Where the socket is when nobody says so.
fn default_socket(admin_port: u16) -> PathBuf {
    if in_pod() {
        return "/run/wscluster/gateway.sock".into();
    }
    let folder = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    folder.join(format!("wscluster-gateway-{admin_port}.sock"))
}

const ADMIN_PORT: u16 = 9090;

impl DrainArgs {
    /// The socket to go to.
    pub fn socket(&self) -> PathBuf {
        let configured = std::env::var("WSCLUSTER_ADMIN_LISTEN").ok().and_then(|text| text.parse::<SocketAddr>().ok());
        let port = configured.map_or(ADMIN_PORT, |address| address.port());
        self.socket.clone().unwrap_or_else(|| default_socket(port))
    }
}

impl Serve {
    /// Reads what the flags point at.
    pub fn settings(self) -> Result<Settings, SettingsError> {
        let config = self.config.as_deref().map_or_else(|| Ok(Config::default()), watch::read)?;
        // A certificate that was asked for must be there from the start: later there is an older one to go on with.
        config.tls.as_ref().map_or(Ok(()), tls::check).map_err(SettingsError::Tls)?;
        let admin_listen = self.admin_listen.unwrap_or_else(|| default_listen(ADMIN_PORT));
        let redis = self.redis.filter(|url| !url.is_empty());
        if self.peer_listen.is_some() && self.admin_token_file.is_none() {
            return Err(SettingsError::Peer);
        }
        Ok(Settings {
            listen: self.listen.unwrap_or_else(|| default_listen(8080)),
            admin_listen,
            peer_listen: self.peer_listen,
            redis: redis.map(|url| Address::parse(&url)?.with_certificates(&config.redis)).transpose()?,
            config_file: self.config,
            config,
            socket: self.socket.unwrap_or_else(|| default_socket(admin_listen.port())),
            admin_token: self.admin_token_file.as_deref().map(read_token).transpose()?,
            api_key_file: self.api_key_file.map_or_else(|| Ok(default_api_keys()), api_keys)?,
            node: self.node.filter(|name| !name.is_empty()).unwrap_or_else(host_name),
            revision: self.revision.unwrap_or_else(|| NO_REVISION.into()),
            shards: self.shards.unwrap_or_else(cores),
            demo: self.demo,
        })
    }
}

fn read_token(path: &Path) -> Result<String, SettingsError> {
    let error = |reason: String| SettingsError::Token { flag: "--admin-token-file", path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(|cause| error(cause.to_string()))?;
    match text.trim() {
        "" => Err(error("is empty: write a token into it".into())),
        token => Ok(token.to_owned()),
    }
}

/// A file that was asked for must hold a key from the start.
fn api_keys(path: PathBuf) -> Result<Option<PathBuf>, SettingsError> {
    match ApiKeys::read(&path) {
        Ok(_) => Ok(Some(path)),
        Err(reason) => Err(SettingsError::Token { flag: "--api-key-file", path, reason }),
    }
}

fn default_api_keys() -> Option<PathBuf> {
    Some(PathBuf::from("/etc/wscluster/keys/api-key")).filter(|path| path.exists())
}

fn parse_revision(text: &str) -> Result<String, String> {
    if is_word(text, 63) { Ok(text.into()) } else { Err("1 to 63 letters, digits, - or _".into()) }
}

fn parse_shards(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=256).contains(count));
    count.ok_or_else(|| "a number from 1 to 256".into())
}

/// The cores that this process may use; in a pod, its CPU limit counts.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "gateway".into() } else { name.trim().to_owned() }
}

impl Settings {
    /// What is in force, as YAML, with secrets masked.
    pub fn show(&self) -> String {
        let text = |value: &dyn std::fmt::Display| serde_yaml::Value::String(value.to_string());
        let optional = |value: Option<serde_yaml::Value>| value.unwrap_or(serde_yaml::Value::Null);
        let process = serde_yaml::Mapping::from_iter([
            ("listen".into(), text(&self.listen)),
            ("adminListen".into(), text(&self.admin_listen)),
            ("peerListen".into(), optional(self.peer_listen.as_ref().map(|address| text(address)))),
            ("redis".into(), optional(self.redis.as_ref().map(|address| text(address)))),
            ("config".into(), optional(self.config_file.as_ref().map(|path| text(&path.display())))),
            ("socket".into(), text(&self.socket.display())),
            ("adminToken".into(), optional(self.admin_token.as_ref().map(|_| "***".into()))),
            ("apiKeyFile".into(), optional(self.api_key_file.as_ref().map(|path| text(&path.display())))),
            ("node".into(), text(&self.node)),
            ("revision".into(), text(&self.revision)),
            ("shards".into(), self.shards.into()),
            ("demo".into(), self.demo.into()),
        ]);
        let process = serde_yaml::to_string(&process).expect("a mapping of strings is YAML");
        let config = serde_yaml::to_string(&self.config).expect("settings are YAML");
        format!("# flags and environment\n{process}# settings file\n{config}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        <Cli as CommandFactory>::command().debug_assert();
    }

    #[test]
    fn gateways_need_a_token_to_prove_themselves_by() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["wscluster-gateway"], args].concat()).map(Cli::command);
        let settings = |args: &[&str]| match parse(args) {
            Ok(Command::Serve(serve)) => serve.settings(),
            other => panic!("{other:?}"),
        };
        let listen = ["--peer-listen", "127.0.0.1:8081", "--revision", "7d9f"];
        assert!(settings(&listen).unwrap_err().to_string().contains("--admin-token-file"));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "t0ken").unwrap();
        let with_token = [&listen[..], &["--admin-token-file", file.path().to_str().unwrap()]].concat();
        let settings = settings(&with_token).unwrap();
        assert_eq!((settings.peer_listen, &*settings.revision), (Some(([127, 0, 0, 1], 8081).into()), "7d9f"));
        assert!(!settings.show().contains("t0ken") && settings.show().contains("127.0.0.1:8081"));
        assert!(parse(&["--revision", "a b"]).is_err());
    }

    #[test]
    fn serve_is_what_happens_when_nothing_is_said() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["wscluster-gateway"], args].concat()).unwrap().command();
        let with = ["--listen", "127.0.0.1:1"];
        for command in [parse(&with), parse(&[&["serve"][..], &with].concat())] {
            let Command::Serve(serve) = command else { panic!("{command:?}") };
            assert_eq!(serve.listen, Some(([127, 0, 0, 1], 1).into()));
        }
        assert!(matches!(parse(&["drain", "--timeout", "5"]), Command::Drain(DrainArgs { timeout: Some(5), .. })));
    }
}
