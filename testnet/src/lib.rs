//! Proof that NodeSpace devices converge, and demonstrations that they do.
//!
//! 1. [`sim`]: the simulator, which runs the production replica and session code in worlds full of faults and hostile peers;
//! 2. [`demo`]: the main job shown on real input; [`replay`]: editing traces typed through real operations; [`people`], [`pair`] and
//!    [`corpus`] are what both stand on;
//! 3. [`generate`]: a workload of any size, for benchmarks and tests of devices;
//! 4. [`cluster`]: real devices as processes, with proxies between them that can be cut, and what is checked of them;
//! 5. [`cli`]: the program's commands, one file each.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod cli;
pub mod cluster;
pub mod corpus;
pub mod demo;
pub mod generate;
pub mod pair;
pub mod people;
pub mod replay;
pub mod sim;
