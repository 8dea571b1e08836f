//! The `ringbus` program.
fn main() {}
