//! Whole devices in one process, over real sockets on loopback, multicast off but where it is the matter.

mod budgets;
mod by_hand;
mod claims;
mod clocks;
mod company;
mod configured;
mod falsified;
mod faults;
mod floods;
mod foreign;
mod frames;
mod gossip;
mod hostile;
mod joining;
mod late;
mod lines;
mod multicast;
mod nameless;
mod recovery;
mod silence;
mod sums;
mod tickets;
