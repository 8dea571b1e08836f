//! A simulated successor ring: nodes and clients over a seeded medium that delays, reorders and loses, with one clock.
//!
//! Every message is written as text and read again on its way. A failing seed is printed with the command that replays
//! it, and the replay prints every message.

mod asker;
mod by_hand;
mod clients;
mod core_alone;
mod detours;
mod oracle;
mod random;
mod world;
