//! What can go wrong with a target, by who must act.

use std::time::Duration;

/// The target could not be asked, or could not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TargetFault {
    /// The settings of the target cannot be used. The operator must act.
    #[error("target `{url}`: {reason}")]
    Settings {
        /// The URL as configured.
        url: String,
        /// What is wrong with it, and the way out.
        reason: String,
    },
    /// No entity of this name. The sender must act.
    #[error("`{target}` has no entity `{name}`{hint}")]
    UnknownEntity {
        /// The target.
        target: String,
        /// The name as given.
        name: String,
        /// `; did you mean …?`, or nothing.
        hint: String,
    },
    /// Credentials, roles or the environment. The operator must act.
    #[error("{error}: {cause}")]
    Access {
        /// The target's words.
        error: String,
        /// What it means.
        cause: String,
    },
    /// No usable answer although it was asked several times. Try again later.
    #[error("no answer to {doing} after {attempts} attempts: {reason}")]
    Unavailable {
        /// What was asked.
        doing: String,
        /// What came instead of an answer, last.
        reason: String,
        /// How often it was asked.
        attempts: u32,
        /// When to try again, counted from now.
        retry_in: Duration,
    },
    /// An answer that the protocol does not know. The operator must look.
    #[error("answer to {doing} not understood: {found}")]
    Misunderstood {
        /// What was asked.
        doing: String,
        /// What came.
        found: String,
    },
}

/// Operations could not be sent to their end. Nothing is lost: every operation can be sent again as it is.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SendFault {
    /// The target is away or busy beyond our patience; send the same operations again later.
    #[error("the target is not available after {attempts} attempts: {reason}")]
    Unavailable {
        /// What came instead of an answer, last.
        reason: String,
        /// Requests that were tried.
        attempts: u32,
        /// When to try again, counted from now.
        retry_in: Duration,
    },
    /// Credentials, roles or the environment. The operator must act, then the same operations can be sent again.
    #[error("{error}: {cause}")]
    Access {
        /// The target's words.
        error: String,
        /// What it means.
        cause: String,
    },
    /// A column or the entity is not what the plan says; no row of the table can be written.
    #[error("{error}: {cause}")]
    Mapping {
        /// The target's words.
        error: String,
        /// What it means.
        cause: String,
    },
    /// One transaction would be larger than a request can be; the sender must split the workbook or drop `atomic`.
    #[error(
        "{found} {unit} in one transaction, at most {max} can be; split the workbook or set `atomic` to false"
    )]
    TooLarge {
        /// How much there is.
        found: usize,
        /// The most there can be.
        max: usize,
        /// Of what: `rows` or `bytes`.
        unit: &'static str,
    },
}

/// A sheet cannot be loaded as its settings say.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PlanFault {
    /// Everything that is wrong with the columns and settings. The sender must act.
    #[error("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Problems {
        /// At least one; in the order of the columns, then of the settings.
        problems: Vec<PlanProblem>,
    },
    /// The target could not be asked.
    #[error(transparent)]
    Target(#[from] TargetFault),
}

/// One thing that is wrong with a column or a setting, in the sender's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cause}; {advice}")]
pub struct PlanProblem {
    /// The header at fault, where there is one.
    pub header: Option<String>,
    /// What is wrong.
    pub cause: String,
    /// What to do.
    pub advice: String,
}
