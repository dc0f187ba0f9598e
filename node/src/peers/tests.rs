//! Whole devices in one process, over real sockets on loopback, multicast off.

mod budgets;
mod by_hand;
mod clocks;
mod company;
mod falsified;
mod foreign;
mod gossip;
mod hostile;
mod joining;
mod late;
mod lines;
mod nameless;
mod recovery;
mod silence;
mod sums;
