//! The walls around the child: once it has its files it opens no other, reaches no network and starts no program.
//!
//! Two of them, each enough by itself for most of it: Landlock (Linux 5.13 and later) takes every right to files,
//! ports and other processes, and a seccomp filter leaves the few system calls that a parser makes. Where the kernel
//! has neither, workbooks are read all the same, and the operator is told once.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus, Scope,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use serde::{Deserialize, Serialize};

/// The rights that Landlock can take: files, devices, TCP ports, signals and abstract sockets. Kernels that know fewer
/// take those. Source: landlock(7), "Landlock features" by ABI; 6 is Linux 6.12.
const LANDLOCK_RIGHTS: ABI = ABI::V6;
/// A file of every system that a parser has no business in.
const FOREIGN_FILE: &str = "/etc/passwd";

/// Calls that a parser makes, whatever their arguments: it reads, writes and measures what is open, holds memory, runs
/// threads of its own and ends. Found with strace over all formats, and by what the C library may fall back to.
const CALLS: [i64; 40] = [
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_ftruncate,
    libc::SYS_fcntl,
    libc::SYS_close,
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_membarrier,
];

/// Which walls stand, and what could be done in spite of them when it was tried.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walls {
    /// Landlock is in force, with all the rights or with those that this kernel knows.
    pub landlock: bool,
    /// The filter of system calls is in force.
    pub seccomp: bool,
    /// What the reader could do that it must not: "open a socket". Empty unless it was made to try.
    pub gaps: Vec<String>,
}

/// Raises the walls around the calling thread and all that it starts; there is no way back. What is open stays open.
pub(super) fn raise() -> Walls {
    // Where a wall cannot be raised the other one still is; what then remains possible is for `try_gaps` to find.
    let plain = rustix::thread::set_no_new_privs(true).is_ok();
    Walls { landlock: plain && landlock(), seccomp: plain && seccomp(), gaps: Vec::new() }
}

/// Takes every right that Landlock knows, without an exception.
pub(super) fn landlock() -> bool {
    let ruled = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK_RIGHTS))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(LANDLOCK_RIGHTS)))
        .and_then(|rules| rules.scope(Scope::from_all(LANDLOCK_RIGHTS)))
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self);
    ruled.is_ok_and(|status| status.ruleset != RulesetStatus::NotEnforced)
}

/// Leaves the calls of a parser. Every other one is answered as an older kernel would, for which libraries have a way
/// out: the allocator, say, does without the file that it would like to look into.
pub(super) fn seccomp() -> bool {
    filter().is_ok_and(|program| seccompiler::apply_filter(&program).is_ok())
}

fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = CALLS.iter().map(|call| (*call, Vec::new())).collect();
    let only = |argument: u8, operator: SeccompCmpOp, value: u64| {
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Qword, operator, value)?;
        Ok::<_, seccompiler::BackendError>(vec![SeccompRule::new(vec![condition])?])
    };
    let bits = |flags: i32| u64::from(flags.unsigned_abs());
    // Memory, but none that can be run.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, only(2, SeccompCmpOp::MaskedEq(bits(libc::PROT_EXEC)), 0)?);
    }
    // Threads, but no process.
    let thread = bits(libc::CLONE_THREAD);
    rules.insert(libc::SYS_clone, only(0, SeccompCmpOp::MaskedEq(thread), thread)?);
    // The size of what is open, which newer C libraries ask for like this.
    let open_one = bits(libc::AT_EMPTY_PATH);
    rules.insert(libc::SYS_newfstatat, only(3, SeccompCmpOp::MaskedEq(open_one), open_one)?);
    rules.insert(libc::SYS_statx, only(2, SeccompCmpOp::MaskedEq(open_one), open_one)?);
    // An end by its own hand, as the allocator's when there is no more memory.
    rules.insert(libc::SYS_tgkill, only(0, SeccompCmpOp::Eq, u64::from(std::process::id()))?);
    let refused = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    SeccompFilter::new(rules, refused, SeccompAction::Allow, std::env::consts::ARCH.try_into()?)?.try_into()
}

/// Tries what the reader must not be able to do, and names what it could: the walls are tried, not believed.
pub(super) fn try_gaps(scratch: &Path) -> Vec<String> {
    let socket = || {
        UdpSocket::bind("127.0.0.1:0").is_ok()
            || TcpListener::bind("127.0.0.1:0").is_ok()
            || UnixDatagram::unbound().is_ok()
    };
    let write = || tempfile::tempfile_in(scratch).is_ok() || tempfile::tempfile().is_ok();
    let start = || {
        let Ok(out) = std::io::stderr().as_fd().try_clone_to_owned() else { return false };
        Command::new("/proc/self/exe").arg("--version").stdout(Stdio::from(out)).status().is_ok()
    };
    let tried = [
        ("open a socket", socket()),
        ("read another file", File::open(FOREIGN_FILE).is_ok()),
        ("write another file", write()),
        ("start a program", start()),
    ];
    tried.into_iter().filter(|(_, could)| *could).map(|(what, _)| what.to_owned()).collect()
}

impl Walls {
    /// What an operator is told: what holds the reader, or what it could do and why.
    pub fn in_words(&self) -> String {
        let standing = match (self.landlock, self.seccomp) {
            (true, true) => "Landlock and seccomp",
            (true, false) => "Landlock alone, without seccomp",
            (false, true) => "seccomp alone, without Landlock",
            (false, false) => "neither Landlock nor seccomp",
        };
        if self.gaps.is_empty() {
            return format!("held by {standing}: it opens no file, no socket and starts no program");
        }
        format!(
            "held by {standing}: a hostile workbook that takes the reader over could {}; workbooks are read all the \
             same; Linux 5.13 and later hold it where Landlock and seccomp are switched on and the service may use them",
            self.gaps.join(", ")
        )
    }
}
