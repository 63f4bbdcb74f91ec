//! `ddu sandbox`: the rehearsal server by itself, for other tools and for tests.

use anyhow::{Context, bail};
use tokio::net::TcpListener;

use super::ALL_WRITTEN;
use super::args::SandboxArgs;
use crate::daemon::signals::{Wish, Wishes};
use crate::sandbox::{Fault, Sandbox, SandboxOptions};

/// Serves until SIGTERM or SIGINT.
pub(super) async fn run(args: &SandboxArgs) -> anyhow::Result<u8> {
    if args.dialect != "dataverse" {
        bail!("the sandbox speaks `dataverse`; `{}` comes with a later release", args.dialect);
    }
    let mut options = SandboxOptions::at(&args.store);
    if let Some(path) = &args.faults {
        options.faults = Fault::read_all(path)?;
    }
    let mut wishes = Wishes::listen()?;
    let sandbox = Sandbox::open(options)?;
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}; choose another with --listen", args.listen))?;
    println!("the sandbox listens on http://{}/api/data/v9.2/", listener.local_addr()?);
    let stopped = async move {
        loop {
            if matches!(wishes.next().await, Wish::Stop | Wish::StopNow) {
                break;
            }
        }
    };
    sandbox.serve(listener, stopped).await?;
    Ok(ALL_WRITTEN)
}
