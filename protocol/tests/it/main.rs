//! The protocol from outside: golden vectors, properties of the wire forms, and what becomes of bad input.

mod bad_input;
mod forks;
mod vectors;
mod wire;
mod world;
