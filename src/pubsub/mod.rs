//! Publishers and subscribers.
