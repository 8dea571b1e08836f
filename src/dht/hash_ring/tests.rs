//! All paths of instructions against the `md-5` crate.
