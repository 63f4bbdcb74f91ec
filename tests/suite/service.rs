//! The rehearsal server as a program of its own: a target that stays up when the daemon is killed.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};

use serde_json::{Value, json};

use crate::world::World;

/// A running `ddu sandbox`, killed with the value. Its rows lie where [`World::target`] looks for them.
pub struct Service {
    child: Child,
    _out: BufReader<ChildStdout>,
    url: String,
    kind: &'static str,
}

impl Service {
    /// Starts it with these rules of disturbance.
    pub fn start(world: &World, faults: Value) -> Self {
        Self::listening(world, "127.0.0.1:0", "dataverse", faults)
    }

    /// As [`Service::start`], standing for Finance & Operations.
    pub fn finops(world: &World, faults: Value) -> Self {
        Self::listening(world, "127.0.0.1:0", "finops", faults)
    }

    /// Ends it with every request that it has not answered, and starts it anew at its address with other rules.
    pub fn restart(&mut self, world: &World, faults: Value) {
        self.end();
        let address = self.url.trim_start_matches("http://").to_owned();
        *self = Self::listening(world, &address, self.kind, faults);
    }

    fn listening(world: &World, address: &str, kind: &'static str, faults: Value) -> Self {
        let store = world.path().join("sandbox");
        std::fs::create_dir_all(&store).unwrap();
        let script = world.path().join("faults.json");
        std::fs::write(&script, faults.to_string()).unwrap();
        let mut command = world.command(&["sandbox", "--listen", address, "--dialect", kind]);
        command.arg("--store").arg(store.join("sandbox.sqlite")).arg("--faults").arg(script);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let from = line.find("http://").unwrap_or_else(|| panic!("no address in `{line}`"));
        let url =
            line[from..].trim_end().trim_end_matches("/data/").trim_end_matches("/api/data/v9.2/").to_owned();
        Service { child, _out: out, url, kind }
    }

    fn end(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// The `target` of a configuration that writes to it as if it were an environment of Dynamics.
    pub fn target(&self) -> Value {
        json!({
            "kind": self.kind, "url": self.url, "authority": self.url,
            "tenant_id": "11111111-2222-3333-4444-555555555555",
            "client_id": "66666666-7777-8888-9999-000000000000",
            "client_secret_env": crate::world::SECRET_VARIABLE,
        })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.end();
    }
}
