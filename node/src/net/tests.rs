//! Networks without devices, in one process, over real sockets on loopback, multicast off. Each test waits for what it expects to be told.

mod by_hand;
mod duplicates;
mod farewell;
mod faults;
mod gossip;
mod listening;
mod network;
mod ports;
mod told_again;
mod wire;
