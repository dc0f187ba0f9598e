//! How the program is linked: with packed relative relocations (RELR) where the C library can read them, which glibc can since 2.36.
//!
//! LanceDB and what it brings along have some 440,000 relocations: ten megabytes that the loader would read at each start and that would then
//! count as memory of the device. Packed they are a few hundred kilobytes. A program linked so does not start where glibc is older than 2.36: one
//! that is to run there is built there.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let is_here = std::env::var("HOST").is_ok_and(|host| host.ends_with("linux-gnu") && std::env::var("TARGET") == Ok(host));
    if is_here && glibc().is_some_and(|version| version >= (2, 36)) {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of this machine's glibc, if that is what it has.
fn glibc() -> Option<(u32, u32)> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = said.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}
