//! The fault matrix: whatever goes wrong on the way, in whatever mode rows are written, each ends exactly once in the target
//! or in quarantine with its cause, and the numbers add up.
//!
//! A cell of the matrix is a fault and a mode: twelve rows in three batches, at a server that disturbs every other request
//! that writes, or one row again and again. `cargo test` plays [`USUAL`] faults; `DDU_MATRIX=all` plays all of them, as CI
//! does, and `DDU_MATRIX=name` those whose names hold it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::chance::tell;
use crate::service::Service;
use crate::world::{Cell, World};

/// The faults that are played where nothing else is asked for: one of each kind.
const USUAL: [&str; 6] =
    ["request limit", "429 with a time", "cut after the commit", "deadlock", "plug-in", "business rule"];
/// Rows of a workbook.
const ROWS: usize = 12;
/// Worlds that are played at once: most of their time they wait for a server that asks them to.
const AT_ONCE: usize = 4;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Insert,
    Upsert,
    Update,
    Delete,
    Atomic,
}

impl Mode {
    const ALL: [Mode; 5] = [Mode::Insert, Mode::Upsert, Mode::Update, Mode::Delete, Mode::Atomic];

    /// The table of its workbook, and how its keys begin.
    fn name(self) -> &'static str {
        match self {
            Mode::Insert => "insert",
            Mode::Upsert => "upsert",
            Mode::Update => "update",
            Mode::Delete => "delete",
            Mode::Atomic => "atomic",
        }
    }

    fn sidecar(self, product: &Product) -> Value {
        let mut sidecar = product.sidecar();
        sidecar["batch_size"] = json!(4);
        match self {
            Mode::Insert => {}
            Mode::Atomic => sidecar["atomic"] = json!(true),
            mode => {
                sidecar["mode"] = json!(mode.name());
                sidecar["key"] = json!(product.key);
            }
        }
        sidecar
    }

    /// How many of its records are there beforehand.
    fn there(self) -> usize {
        match self {
            Mode::Insert | Mode::Atomic => 0,
            Mode::Upsert => ROWS / 2,
            Mode::Update | Mode::Delete => ROWS,
        }
    }
}

/// A product of Dynamics and an entity of it.
struct Product {
    kind: &'static str,
    entity: &'static str,
    /// The column that names a record.
    key: &'static str,
    /// The column that changes.
    value: &'static str,
    start: fn(&World, Value) -> Service,
}

impl Product {
    const DATAVERSE: Product = Product {
        kind: "dataverse",
        entity: "accounts",
        key: "accountnumber",
        value: "name",
        start: Service::start,
    };

    const FINOPS: Product = Product {
        kind: "finops",
        entity: "CustomerGroups",
        key: "CustomerGroupId",
        value: "Description",
        start: Service::finops,
    };

    fn sidecar(&self) -> Value {
        let mut sidecar = json!({"target_entity": self.entity});
        if self.kind == "finops" {
            sidecar["legal_entity"] = json!("ussi");
        }
        sidecar
    }

    fn number(mode: Mode, index: usize) -> String {
        format!("{}{index:02}", &mode.name()[..3])
    }

    fn rows(&self, mode: Mode, count: usize, value: &str) -> Vec<Vec<Cell>> {
        let header = vec![Cell::from(self.key), Cell::from(self.value)];
        let row = |index| {
            vec![Cell::from(Self::number(mode, index)), Cell::from(format!("{value} {index}").as_str())]
        };
        std::iter::once(header).chain((0..count).map(row)).collect()
    }

    /// The values of a mode's records, by their keys; a record that is there twice is told so.
    fn records(&self, service: &Service, mode: Mode) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let text = |row: &Value, column: &str| row[column].as_str().unwrap_or_default().to_owned();
        for row in service.rows(self.entity) {
            let key = text(&row, self.key);
            if key.starts_with(&mode.name()[..3])
                && found.insert(key.clone(), text(&row, self.value)).is_some()
            {
                found.insert(key, "TWICE".to_owned());
            }
        }
        found
    }
}

/// What must have become of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// All are written.
    Written,
    /// One is refused, and the cause or the error says this.
    OneRefused(&'static str),
}

/// A fault: its name, the script of the server, and how it must end.
#[derive(Clone)]
struct Fault {
    name: &'static str,
    script: Value,
    end: End,
}

/// Every other request that writes is answered so.
fn requests(name: &'static str, answer: Value) -> Fault {
    let on = |kind: &str| json!({"on": {"kind": kind, "every": 2}, "answer": answer});
    Fault { name, script: json!([on("batch"), on("write")]), end: End::Written }
}

/// The seventh row that is written is answered so; again and again, where it is refused for good.
fn row(name: &'static str, answer: Value, voice: Value, end: End) -> Fault {
    let sticky = end != End::Written;
    let on = json!({"kind": "operation", "request": 7, "sticky": sticky});
    Fault { name, script: json!({"rules": [{"on": on, "answer": answer}], "voice": voice}), end }
}

/// What any service and any line to it may do.
fn faults_of_the_line() -> Vec<Fault> {
    vec![
        requests("502 as HTML", json!({"status": 502, "html": true})),
        requests("503 with a time", json!({"status": 503, "retry_after": "0.1"})),
        requests("504 as HTML", json!({"status": 504, "html": true})),
        requests("slow", json!({"delay_ms": 300})),
        requests("cut before the commit", json!({"cut": "before"})),
        requests("cut after the commit", json!({"cut": "after"})),
        requests("cut within the answer", json!({"cut": "during"})),
        expired_token(),
    ]
}

fn faults_of_dataverse() -> Vec<Fault> {
    let throttled =
        |code: &str, retry_after: Value| json!({"status": 429, "code": code, "retry_after": retry_after});
    let refused = End::OneRefused("the plug-in says no");
    let plug_in = json!({"status": 400, "code": "0x80040265", "message": "the plug-in says no"});
    let out_of_range = End::OneRefused("one of the choices");
    vec![
        requests("request limit", throttled("0x80072322", json!("0.1"))),
        requests("execution time limit", throttled("0x80072321", json!("0.1"))),
        requests("concurrency limit", throttled("0x80072326", json!("0.1"))),
        requests("429 without a time", throttled("0x80072322", Value::Null)),
        requests("429 with a date", throttled("0x80072322", json!("date+1"))),
        requests("500 unexpected", json!({"status": 500, "code": "0x80040216"})),
        row("deadlock", json!({"status": 500, "code": "0x80044150"}), json!({}), End::Written),
        row("database timeout", json!({"status": 500, "code": "0x80044151"}), json!({}), End::Written),
        row("plug-in", plug_in.clone(), json!({}), refused),
        row("refused in mixed case", plug_in, json!({"codes": "mixed"}), refused),
        row(
            "refused in German",
            json!({"status": 400, "code": "0x8004431A"}),
            json!({"language": "german"}),
            out_of_range,
        ),
    ]
}

fn faults_of_finops() -> Vec<Fault> {
    let told = |code: &str| json!({"status": 500, "code": code});
    let refused = End::OneRefused("blocked");
    vec![
        requests("429 with a time", json!({"status": 429, "retry_after": "0.1"})),
        row("update conflict", told("update_conflict"), json!({}), End::Written),
        row("deadlock", told("deadlock"), json!({}), End::Written),
        row("business rule", told("blocked"), json!({}), refused),
    ]
}

/// The second request that writes finds its token expired.
fn expired_token() -> Fault {
    let on = |kind: &str| json!({"on": {"kind": kind, "request": 2}, "answer": {"status": 401, "code": "0x8004A101"}});
    Fault { name: "expired token", script: json!([on("batch"), on("write")]), end: End::Written }
}

/// Plays one fault in all modes, each in a folder of its own.
fn play(product: &Product, fault: &Fault) {
    let world = World::new();
    let mut service = (product.start)(&world, json!([]));
    world.configure(json!({"target": service.target()}));
    for mode in Mode::ALL.into_iter().filter(|mode| mode.there() > 0) {
        let name = format!("before-{}.xlsx", mode.name());
        world.drop_json(&format!("{name}.json"), product.sidecar());
        world.drop_rows(&name, &product.rows(mode, mode.there(), "before"));
    }
    world.run_once(0);
    for mode in Mode::ALL {
        let place = format!("{} × {} × {}", product.kind, fault.name, mode.name());
        let mut script = fault.script.clone();
        if mode == Mode::Delete && script["rules"].is_array() {
            // A delete has no body by which its row would be known again; it is refused once and not tried again.
            script["rules"][0]["on"]["sticky"] = json!(false);
        }
        service.restart(&world, script);
        world.drop_json(&format!("{}.xlsx.json", mode.name()), mode.sidecar(product));
        world.drop_rows(&format!("{}.xlsx", mode.name()), &product.rows(mode, ROWS, "after"));
        let said = world.ddu(&["run", "--once"]);
        world.assert_conserved();
        let all = ROWS as u64;
        let refused = match (fault.end, mode) {
            (End::Written, _) => 0,
            (End::OneRefused(_), Mode::Atomic) => ROWS,
            (End::OneRefused(_), _) => 1,
        };
        let code = if refused == 0 { 0 } else { 3 };
        assert_eq!(
            said.code,
            code,
            "{place}: {}\n{}\n{:?}",
            said.out,
            said.err,
            world.quarantine(mode.name())
        );
        let counts = world.counts(mode.name());
        assert_eq!(counts, [all, all - refused as u64, refused as u64, 0], "{place}");
        let quarantined = world.quarantine(mode.name());
        assert_eq!(quarantined.len(), refused, "{place}");
        if let End::OneRefused(why) = fault.end {
            let told = |row: &&Value| format!("{} {}", row["_ddu_error"], row["_ddu_cause"]).contains(why);
            assert_eq!(quarantined.iter().filter(told).count(), 1, "{place}: {quarantined:?}");
        }
        service.restart(&world, json!([]));
        let records = product.records(&service, mode);
        let stayed = |index: &usize| {
            let number = Product::number(mode, *index);
            quarantined.iter().any(|row| row[product.key] == number.as_str())
        };
        let mut wanted = BTreeMap::new();
        for index in 0..ROWS {
            let value = match (stayed(&index), mode) {
                (true, _) if index < mode.there() => "before",
                (true, _) | (false, Mode::Delete) => continue,
                (false, _) => "after",
            };
            wanted.insert(Product::number(mode, index), format!("{value} {index}"));
        }
        assert_eq!(records, wanted, "{place}");
    }
}

/// Plays all faults and tells how many cells the matrix has.
fn play_all(product: &Product, faults: Vec<Fault>) {
    let only = std::env::var("DDU_MATRIX").ok();
    let wanted = |fault: &Fault| match only.as_deref() {
        None => USUAL.contains(&fault.name),
        Some("all") => true,
        Some(name) => fault.name.contains(name),
    };
    let faults: Vec<Fault> = faults.into_iter().filter(wanted).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(fault) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
                    play(product, fault);
                }
            });
        }
    });
    tell(&format!(
        "fault matrix of {}: {} faults in {} modes, each row exactly once in the target or in quarantine",
        product.kind,
        faults.len(),
        Mode::ALL.len()
    ));
}

#[test]
fn whatever_goes_wrong_at_dataverse_every_row_ends_exactly_once() {
    play_all(&Product::DATAVERSE, [faults_of_the_line(), faults_of_dataverse()].concat());
}

#[test]
fn whatever_goes_wrong_at_finance_and_operations_every_row_ends_exactly_once() {
    play_all(&Product::FINOPS, [faults_of_the_line(), faults_of_finops()].concat());
}
