//! DDU.
fn main() {}
