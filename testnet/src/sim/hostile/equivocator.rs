//! A member that writes one log from two places: its disk is copied, and the copy goes on with the same epoch. Everybody must converge on
//! both branches.

use std::rc::Rc;

use crate::sim::clock::WallClock;
use crate::sim::device::{Device, Nature};
use crate::sim::workload::Work;
use crate::sim::world::World;

pub(super) fn act(world: &mut World, device: usize) {
    let twins = world.of_nature(Nature::Equivocator);
    let twin = twins.iter().find(|other| **other != device && world.devices[**other].id() == world.devices[device].id());
    match twin {
        None => split(world, device),
        Some(_) => {
            let work = if world.dice.chance(150) { Work::Membership } else { Work::Typing };
            world.do_work(device, work);
            world.commit(device);
        }
    }
}

/// Makes the second place.
fn split(world: &mut World, device: usize) {
    let original = &world.devices[device];
    let (key, certificate) = (original.key.clone(), original.certificate);
    let mut twin = Device::new(Nature::Equivocator, key, original.user, certificate, original.epoch, WallClock::default());
    twin.welcome = original.welcome.clone();
    twin.secret = original.secret;
    twin.copy = true;
    twin.disk = original.store().map(|store| store.copied_to(Rc::clone(&twin.control)));
    world.devices.push(twin);
    let twin = world.devices.len() - 1;
    world.note(format_args!("device {device} equivocates: {twin} writes the same log"));
    world.start(twin);
    world.employ(twin);
    for device in [device, twin] {
        world.do_work(device, Work::Typing);
        world.commit(device);
    }
}
