//! Whole devices in one process, over real sockets on loopback, multicast off.

mod clocks;
mod company;
mod foreign;
mod gossip;
mod hostile;
mod joining;
mod lines;
