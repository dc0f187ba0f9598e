//! The program as a person runs it: real processes, killed, restarted, with their files damaged.
//!
//! Every test has a home of its own in a temporary folder and a daemon on a port that the system chooses. What a test starts it ends, by
//! its process id. Seeds are printed when a test fails; `NODESPACE_SEED` repeats one, `NODESPACE_KILLS` asks for more kills.

mod daemon;
mod dice;
mod heal;
mod http;
mod kill;
