//! The program `nodespace-testnet`.
fn main() {}
