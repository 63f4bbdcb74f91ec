//! Sends operations to F&O until each is written or refused: in batches whose answers find their operations by Content-ID,
//! else one by one; what may have been done already is asked for before it is done again.

mod heard;
mod whole;

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Method as Verb;
use tokio::time::Instant;

use super::answers::difference;
use super::ask::Seen;
use super::batch::{self, Piece};
use super::naming::{Missing, RecordKey};
use super::{Course, OPERATIONS_MAX};
use crate::domain::conform::excerpt;
use crate::domain::effect::{Effect, Written};
use crate::domain::refusal::{Refusal, Severity};
use crate::io::dynamics::Dynamics;
use crate::io::dynamics::encode::Deed;
use crate::io::dynamics::fault::{SendFault, TargetFault};
use crate::io::dynamics::gate::{OnWaiting, Waiting};
use crate::io::dynamics::multipart;
use crate::io::dynamics::operation::{
    BatchShape, Condition, History, Operation, Outcome, SendReport, Trouble,
};
use crate::io::dynamics::patience::Patience;
use crate::io::dynamics::wire::{Answer, Request, Stumble};

/// How often an upsert changes between update and insert, and an insert between asking and sending, before its last
/// refusal stands: records that come and go at that pace are somebody else's doing.
const TURNS_MAX: u32 = 3;
/// Statuses of a `$batch` that is not to be had here. Source: dynamics.md §6.4, where its refusal is not documented.
const NO_BATCH: [u16; 4] = [404, 405, 415, 501];

/// What the next request for an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Create,
    Change,
    Delete,
}

/// One operation on its way.
#[derive(Debug, Clone)]
struct Way {
    act: Act,
    /// Whether the last request may have been carried out.
    doubt: bool,
    /// Whether any request may have been.
    doubted: bool,
    /// How often it was answered with a setback of its own.
    tries: u32,
    turns: u32,
}

/// Operations that go together.
struct Group {
    places: Vec<usize>,
    one_by_one: bool,
}

/// What is to follow a round: these groups, after a pause where one is needed.
struct Next {
    groups: Vec<Group>,
    rest: Option<Rest>,
}

/// A pause before the next try.
struct Rest {
    reason: String,
    /// As long as the service asked for.
    wait: Option<Duration>,
    /// Whether the gate keeps it.
    held: bool,
}

impl Rest {
    fn for_reason(reason: String) -> Self {
        Rest { reason, wait: None, held: false }
    }
}

impl Next {
    fn at_once(groups: Vec<Group>) -> Self {
        Next { groups, rest: None }
    }

    fn later(groups: Vec<Group>, rest: Rest) -> Self {
        Next { groups, rest: Some(rest) }
    }
}

/// One call on its way. Numbers are places among the operations.
struct Sending<'a> {
    dynamics: &'a Dynamics,
    operations: &'a [Operation],
    courses: Vec<&'a Course>,
    waiting: OnWaiting<'a>,
    outcomes: Vec<Option<Outcome>>,
    made: Vec<(usize, String)>,
    ways: Vec<Way>,
    queue: VecDeque<Group>,
    patience: Patience<'a>,
    attempts: u32,
    culprit: Option<usize>,
    trouble: Option<Trouble>,
}

impl Dynamics {
    /// As [`Dynamics::send`].
    pub(in crate::io::dynamics) async fn finops_send(
        &self,
        operations: &[Operation],
        shape: BatchShape,
        history: History,
        waiting: OnWaiting<'_>,
    ) -> Result<SendReport, SendFault> {
        let wire = &self.inner.wire;
        let start = Instant::now();
        let courses: Vec<&Course> =
            operations.iter().map(|one| one.course.as_deref().expect("a plan for F&O made it")).collect();
        let in_doubt = history == History::InDoubt;
        let way = |course: &&Course| Way {
            act: match course.deed {
                Deed::Create => Act::Create,
                Deed::Upsert | Deed::Update => Act::Change,
                Deed::Delete => Act::Delete,
            },
            doubt: in_doubt,
            doubted: in_doubt,
            tries: 0,
            turns: 0,
        };
        let mut sending = Sending {
            dynamics: self,
            operations,
            ways: courses.iter().map(way).collect(),
            courses,
            waiting,
            outcomes: vec![None; operations.len()],
            made: Vec::new(),
            queue: VecDeque::new(),
            patience: Patience::new(wire.limits()),
            attempts: 0,
            culprit: None,
            trouble: None,
        };
        match shape {
            BatchShape::ChangeSet => sending.whole().await?,
            BatchShape::Independent => {
                sending.queue = sending.groups();
                while let Some(group) = sending.queue.pop_front() {
                    sending.round(group).await?;
                }
            }
        }
        let outcomes = sending.outcomes.into_iter();
        Ok(SendReport {
            outcomes: outcomes
                .map(|outcome| outcome.expect("a group leaves the queue only settled"))
                .collect(),
            attempts: sending.attempts,
            took: start.elapsed(),
            culprit: sending.culprit,
            trouble: sending.trouble,
            made: sending.made,
        })
    }
}

impl Sending<'_> {
    /// What an operation takes in a batch, in bytes, whichever of its requests goes.
    fn size(&self, place: usize) -> usize {
        let operation = &self.operations[place];
        let first = operation.path.len() + operation.body.as_ref().map_or(0, String::len);
        let second = self.courses[place].create.as_ref().map_or(0, |(path, body)| path.len() + body.len());
        batch::ENVELOPE_BYTES + first.max(second)
    }

    /// The first requests: as many operations as one may hold.
    fn groups(&self) -> VecDeque<Group> {
        let bytes_max = self.dynamics.inner.wire.limits().batch_bytes_max;
        let one_by_one = self.dynamics.inner.finops.one_by_one.load(Ordering::Relaxed);
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut bytes = 0;
        for place in 0..self.operations.len() {
            let more = self.size(place);
            match groups.last_mut() {
                Some(group) if group.len() < OPERATIONS_MAX && bytes + more <= bytes_max => {
                    group.push(place);
                    bytes += more;
                }
                _ => {
                    groups.push(vec![place]);
                    bytes = more;
                }
            }
        }
        groups.into_iter().map(|places| Group { places, one_by_one }).collect()
    }

    /// Sends one group and settles what its answers settle; the rest is back in the queue.
    async fn round(&mut self, group: Group) -> Result<(), SendFault> {
        let unsettled = |sending: &Self| sending.outcomes.iter().filter(|outcome| outcome.is_none()).count();
        let before = unsettled(self);
        let places = self.without_doubts(group.places).await?;
        let next = match places.as_slice() {
            [] => Next::at_once(Vec::new()),
            [_] => self.singly(places).await?,
            _ if group.one_by_one => self.singly(places).await?,
            _ => self.together(places).await?,
        };
        if unsettled(self) < before {
            self.patience.renew();
        }
        for group in next.groups.into_iter().rev().filter(|group| !group.places.is_empty()) {
            self.queue.push_front(group);
        }
        match next.rest {
            Some(rest) if !self.queue.is_empty() => self.pause(rest).await,
            _ => Ok(()),
        }
    }

    /// Settles what may be done already; returns what is to be sent.
    async fn without_doubts(&mut self, places: Vec<usize>) -> Result<Vec<usize>, SendFault> {
        for place in &places {
            let way = &mut self.ways[*place];
            // An update that is sent again says whether there is a record.
            if way.doubt && way.act == Act::Change && self.courses[*place].deed == Deed::Upsert {
                way.doubt = false;
            }
        }
        let asked: Vec<usize> = places
            .iter()
            .copied()
            .filter(|place| self.ways[*place].doubt && self.ways[*place].act == Act::Create)
            .collect();
        if asked.is_empty() {
            return Ok(places);
        }
        let seen = self.seen(&asked).await?;
        for (place, seen) in seen {
            self.ways[place].doubt = false;
            if self.courses[place].deed == Deed::Upsert {
                // Where its insert was lost it goes once more; else the record is there, and is brought up to date.
                let absent = matches!(seen, Seen::Absent);
                self.ways[place].act = if absent { Act::Create } else { Act::Change };
                continue;
            }
            match self.resolved(place, &seen) {
                None => {}
                Some(Ok(())) => self.took(place, Effect::Unknown),
                Some(Err(refusal)) => {
                    self.note(refusal.error.clone(), refusal.cause.clone(), Severity::Rows);
                    self.settle(place, Outcome::Refused(refusal));
                }
            }
        }
        Ok(places.into_iter().filter(|place| self.outcomes[*place].is_none()).collect())
    }

    async fn seen(&self, places: &[usize]) -> Result<Vec<(usize, Seen)>, SendFault> {
        let keys: Vec<(usize, &RecordKey)> =
            places.iter().map(|place| (*place, &self.courses[*place].key)).collect();
        let Some(first) = places.first().map(|place| self.courses[*place]) else { return Ok(Vec::new()) };
        let mut seen: Vec<(usize, Seen)> = self
            .dynamics
            .seen(&first.set, first.has_company, &keys)
            .await
            .map_err(|fault| unasked(fault, self.attempts))?
            .into_iter()
            .collect();
        seen.sort_by_key(|(place, _)| *place);
        Ok(seen)
    }

    /// What was found in place of an insert that may have been carried out: it was, it was not (`None`), or nobody knows.
    fn resolved(&self, place: usize, seen: &Seen) -> Option<Result<(), Refusal>> {
        let why = match seen {
            Seen::Absent => return None,
            Seen::There(record) => {
                let sent = self.operations[place].body.as_deref().unwrap_or_default();
                match difference(sent, record) {
                    None => return Some(Ok(())),
                    Some(difference) => format!(
                        "a record {} is there with another value: {difference}",
                        excerpt(&self.operations[place].target_key)
                    ),
                }
            }
            Seen::Hidden => self.hidden(place).to_owned(),
        };
        Some(Err(unknown(&why)))
    }

    fn hidden(&self, place: usize) -> &'static str {
        match self.courses[place].key.missing {
            Some(Missing::Company) => "the company that it went to is not to be seen",
            _ => "Dynamics makes the key of its record itself, so that nobody can ask for it",
        }
    }

    /// The next request for an operation.
    fn piece(&self, place: usize) -> Piece<'_> {
        let operation = &self.operations[place];
        match (self.ways[place].act, &self.courses[place].create) {
            (Act::Create, Some((path, body))) => {
                Piece { verb: "POST", path, if_match: None, body: Some(body) }
            }
            (act, _) => Piece {
                verb: match act {
                    Act::Create => "POST",
                    Act::Change => "PATCH",
                    Act::Delete => "DELETE",
                },
                path: &operation.path,
                if_match: match &operation.condition {
                    Condition::Version(etag) => Some(etag),
                    Condition::Any | Condition::Exists => None,
                },
                body: operation.body.as_deref(),
            },
        }
    }

    /// Sends these as one batch.
    async fn post(&mut self, places: &[usize], shape: BatchShape) -> Result<Answer, Stumble> {
        let wire = &self.dynamics.inner.wire;
        let pieces: Vec<Piece<'_>> = places.iter().map(|place| self.piece(*place)).collect();
        let batch = batch::batch(&pieces, shape, wire.root_path());
        let request = Request {
            method: Verb::POST,
            path: "$batch",
            prefer: (shape == BatchShape::Independent).then_some("odata.continue-on-error"),
            if_match: None,
            body: Some((&batch.content_type, batch.body.into())),
            rows: places.len(),
        };
        let answered = wire.once(&request, self.waiting).await;
        self.attempts += u32::from(!matches!(answered, Err(Stumble::Closed(_))));
        answered
    }

    /// Each for itself, in one request.
    async fn together(&mut self, places: Vec<usize>) -> Result<Next, SendFault> {
        match self.post(&places, BatchShape::Independent).await {
            Err(stumble) => {
                let too_large = matches!(stumble, Stumble::TooLarge { .. });
                let rest = self.stumbled(&places, stumble)?;
                let groups = match too_large {
                    true => halves(places),
                    false => vec![Group { places, one_by_one: false }],
                };
                Ok(Next::later(groups, rest))
            }
            Ok(answer) => match multipart::answers(&answer.content_type, &answer.body) {
                Some(parts) => self.heard_parts(places, &parts),
                None => self.heard_as_one(places, &answer),
            },
        }
    }

    /// Each in a request of its own, one after the other; what follows one that must wait waits as well.
    async fn singly(&mut self, places: Vec<usize>) -> Result<Next, SendFault> {
        let mut round = heard::Round::default();
        for (number, place) in places.iter().copied().enumerate() {
            let piece = self.piece(place);
            let method = match self.ways[place].act {
                Act::Create => Verb::POST,
                Act::Change => Verb::PATCH,
                Act::Delete => Verb::DELETE,
            };
            let body = piece.body.map(|json| ("application/json", Bytes::copy_from_slice(json.as_bytes())));
            let (path, if_match) = (piece.path, piece.if_match);
            let request = Request { method, path, prefer: None, if_match, body, rows: 1 };
            let answered = self.dynamics.inner.wire.once(&request, self.waiting).await;
            self.attempts += u32::from(!matches!(answered, Err(Stumble::Closed(_))));
            match answered {
                Ok(answer) => self.hear(&mut round, place, answer.status, &answer.body),
                Err(stumble) => {
                    let rest = self.stumbled(&[place], stumble)?;
                    let places = round.rest(places[number..].to_vec());
                    return Ok(Next::later(vec![Group { places, one_by_one: true }], rest));
                }
            }
        }
        round.check()?;
        let (again, turned) = (round.again, round.turned);
        let groups = [turned, again].map(|places| Group { places, one_by_one: true });
        Ok(Next { groups: groups.into(), rest: round.reason.map(Rest::for_reason) })
    }

    /// What a request without an answer means: the end of the call, or a rest before the next try.
    fn stumbled(&mut self, places: &[usize], stumble: Stumble) -> Result<Rest, SendFault> {
        match stumble {
            Stumble::Closed(Waiting { pause, reason, .. }) => {
                Err(SendFault::Unavailable { reason, attempts: self.attempts, retry_in: pause })
            }
            Stumble::Access { error, cause } => Err(SendFault::Access { error, cause }),
            Stumble::Later { reason, wait, in_doubt, setback } => {
                if in_doubt {
                    self.doubt(places);
                }
                Ok(Rest { reason, wait, held: setback.is_some() })
            }
            Stumble::TooLarge { limit } => {
                self.doubt(places);
                Ok(Rest::for_reason(format!("an answer of more than {limit} bytes")))
            }
        }
    }

    fn doubt(&mut self, places: &[usize]) {
        for place in places {
            (self.ways[*place].doubt, self.ways[*place].doubted) = (true, true);
        }
    }

    /// Waits before the next try, unless the gate does.
    async fn pause(&mut self, rest: Rest) -> Result<(), SendFault> {
        let Rest { reason, wait, held } = rest;
        match self.patience.next(wait, held) {
            Ok(pause) => {
                Trouble::passing(&reason).keep_in(&mut self.trouble);
                if held {
                    return Ok(());
                }
                (self.waiting)(Waiting { pause, reason, asked_for: wait.is_some() });
                tokio::time::sleep(pause).await;
                Ok(())
            }
            Err(retry_in) => Err(SendFault::Unavailable { reason, attempts: self.attempts, retry_in }),
        }
    }

    fn note(&mut self, error: String, cause: String, severity: Severity) {
        Trouble { error, cause, severity }.keep_in(&mut self.trouble);
    }

    /// The target has what the operation wanted.
    fn took(&mut self, place: usize, effect: Effect) {
        self.settle(place, Outcome::Written(Written { effect, record: None }));
    }

    fn settle(&mut self, place: usize, outcome: Outcome) {
        self.outcomes[place] = Some(outcome);
    }
}

/// The refusal of a row of which nobody knows whether it was written. It is not sent again by itself.
fn unknown(why: &str) -> Refusal {
    Refusal {
        column: None,
        error: format!("outcome unknown: {why}"),
        cause: format!("whether this row was written is not known: its answer was lost, and {why}"),
        advice: "look for the record in Dynamics; where it is there and right, delete the row here, else drop the row \
                 again"
            .to_owned(),
        missing: None,
    }
}

fn halves(mut places: Vec<usize>) -> Vec<Group> {
    let second = places.split_off(places.len() / 2);
    [places, second].map(|places| Group { places, one_by_one: false }).into()
}

/// Why a question about records that may be there has no answer.
fn unasked(fault: TargetFault, attempts: u32) -> SendFault {
    match fault {
        TargetFault::Access { error, cause } => SendFault::Access { error, cause },
        TargetFault::Unavailable { reason, retry_in, .. } => {
            SendFault::Unavailable { reason, attempts, retry_in }
        }
        fault @ (TargetFault::Settings { .. }
        | TargetFault::UnknownEntity { .. }
        | TargetFault::Misunderstood { .. }) => SendFault::Unavailable {
            reason: format!("what became of rows sent before cannot be asked: {fault}"),
            attempts,
            retry_in: RETRY_UNASKED,
        },
    }
}

/// When a question that was answered with nonsense is asked again.
const RETRY_UNASKED: Duration = Duration::from_secs(60);
