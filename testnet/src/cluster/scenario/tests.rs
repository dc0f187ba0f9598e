use super::*;

const SMALL: &str = r#"
name = "small"
story = "two devices"
devices = 2

[[phase]]
name = "work"
for_s = 2
writes_per_s = 1.5
"#;

fn error(text: &str) -> String {
    format!("{:#}", Scenario::parse(text).unwrap_err())
}

#[test]
fn what_is_left_out_has_its_default() {
    let scenario = Scenario::parse(SMALL).unwrap();
    assert_eq!((scenario.seed, scenario.outsiders, scenario.topology), (1, 0, Topology::Mesh));
    assert_eq!(scenario.phase[0].mix, Mix::default());
    assert_eq!(scenario.expect.converge_s, 10.0);
    assert_eq!(scenario.link.conditions(), Conditions::default());
}

#[test]
fn every_kind_of_event_is_read() {
    let events = [
        "do = \"kill\", at_s = 1, device = 1",
        "do = \"stop\", at_s = 1, device = 1",
        "do = \"start\", at_s = 1, device = 1",
        "do = \"pause\", at_s = 1, device = 1",
        "do = \"resume\", at_s = 1, device = 1",
        "do = \"partition\", at_s = 1, groups = [[0], [1]], cut = \"swallow\"",
        "do = \"one_way\", at_s = 1, from = 0, to = 1, cut = \"hold\"",
        "do = \"heal\", at_s = 1",
        "do = \"link\", at_s = 1, between = [0, 1], conditions = { delay_ms = 20, kib_per_s = 100, lifetime_s = 0.5 }",
        "do = \"reset\", at_s = 1",
        "do = \"import\", at_s = 1, device = 0, nodes = 100",
        "do = \"clock\", at_s = 1, device = 0, offset_ms = -5000",
        "do = \"invite\", at_s = 1, by = 0, ticket = \"t\", uses = 1, expires_s = 60",
        "do = \"join\", at_s = 1, device = 1, ticket = \"t\", halved = true, ends = \"refused\"",
        "do = \"revoke\", at_s = 1, by = 0, ticket = \"t\"",
        "do = \"remove\", at_s = 1, device = 1, by = 0",
        "do = \"equal\", at_s = 1, devices = [0, 1], within_s = 5",
        "do = \"synced\", at_s = 1, device = 1, within_s = 5",
    ];
    let list: Vec<String> = events.iter().map(|event| format!("{{ {event} }}")).collect();
    let scenario = Scenario::parse(&format!("{SMALL}event = [{}]\n", list.join(", "))).unwrap();
    let mut seen: Vec<_> = scenario.phase[0].event.iter().map(|event| std::mem::discriminant(&event.action)).collect();
    seen.dedup();
    assert_eq!(seen.len(), events.len());
    assert!(scenario.phase[0].event.iter().all(|event| event.at_s == 1.0 && !event.action.words().is_empty()));
}

const RELAY: &str = "relay = { instances = 2 }\n";

#[test]
fn every_kind_of_event_of_the_relay_is_read() {
    let events = [
        "do = \"relay_kill\", at_s = 1, instance = 1",
        "do = \"relay_stop\", at_s = 1, instance = 1",
        "do = \"relay_start\", at_s = 1, instance = 1",
        "do = \"relay_crash\", at_s = 1, instance = 0",
        "do = \"postgres_kill\", at_s = 1",
        "do = \"postgres_stop\", at_s = 1",
        "do = \"postgres_start\", at_s = 1",
        "do = \"redis_kill\", at_s = 1",
        "do = \"redis_start\", at_s = 1",
        "do = \"redis_flush\", at_s = 1",
        "do = \"relay_back_up\", at_s = 1",
        "do = \"relay_restore\", at_s = 1",
        "do = \"relay_lose\", at_s = 1",
        "do = \"relay_lie\", at_s = 1, lie = \"withhold\", to = [0]",
        "do = \"relay_honest\", at_s = 1",
        "do = \"relay_caught\", at_s = 1, device = 0, by = \"alarm\", within_s = 5",
        "do = \"relay_check\", at_s = 1, device = 0",
    ];
    let list: Vec<String> = events.iter().map(|event| format!("{{ {event} }}")).collect();
    let scenario = Scenario::parse(&format!("{RELAY}{SMALL}event = [{}]\n", list.join(", "))).unwrap();
    let mut seen = Vec::new();
    for event in &scenario.phase[0].event {
        let Action::Relay(action) = &event.action else { panic!("{event:?}") };
        assert!(!event.action.words().is_empty());
        seen.push(std::mem::discriminant(action));
    }
    seen.dedup();
    assert_eq!(seen.len(), events.len());
}

#[test]
fn what_a_relay_cannot_do_is_told() {
    let relayed = |event: &str| format!("{RELAY}{SMALL}event = [{{ at_s = 1, {event} }}]\n");
    for (text, wanted) in [
        (relayed("do = \"relay_kill\", instance = 2"), "instance 2"),
        (relayed("do = \"relay_restore\""), "no backup"),
        (relayed("do = \"relay_lie\", lie = \"reorder\", to = []"), "names nobody"),
        (relayed("do = \"relay_lie\", lie = \"reorder\", to = [2]"), "device 2"),
        (relayed("do = \"relay_lie\", lie = \"flatter\", to = [1]"), "flatter"),
        (relayed("do = \"relay_caught\", device = 0, by = \"alarm\", within_s = -1"), "within_s"),
        (relayed("do = \"relay_honest\", to = [1]"), "to"),
        (relayed("do = \"redis_explode\""), "redis_explode"),
        (relayed("do = \"redis_flush\"").replace(RELAY, ""), "[relay]"),
        (RELAY.replace("instances = 2", "instances = 0") + SMALL, "relay.instances"),
        (RELAY.replace("instances", "instancez") + SMALL, "instancez"),
        (format!("topology = \"none\"\n{SMALL}"), "nobody can reach"),
    ] {
        let error = error(&text);
        assert!(error.contains(wanted), "{text}\n{error}");
    }
}

#[test]
fn a_misspelt_key_is_refused_wherever_it_stands() {
    for (text, named) in [
        (format!("devicez = 3\n{SMALL}"), "devicez"),
        (format!("{SMALL}write_per_s = 3\n"), "write_per_s"),
        (format!("{SMALL}mix = {{ edits = 3 }}\n"), "edits"),
        (format!("{SMALL}event = [{{ do = \"kill\", at_s = 1, device = 1, devise = 2 }}]\n"), "devise"),
        (format!("{SMALL}event = [{{ do = \"explode\", at_s = 1 }}]\n"), "explode"),
        (format!("{SMALL}event = [{{ do = \"heal\", at = 1 }}]\n"), "at_s"),
        (format!("{SMALL}[expect]\nconverge = 3\n"), "converge"),
        (format!("{SMALL}[link]\ndelay = 3\n"), "delay"),
    ] {
        let error = error(&text);
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn what_does_not_fit_together_is_told_with_where_it_stands() {
    for (text, wanted) in [
        (SMALL.replace("devices = 2", "devices = 0"), "found the workspace"),
        (SMALL.replace("devices = 2", "devices = 65"), "64"),
        (SMALL.replace("for_s = 2", "for_s = -1"), "`for_s` = -1"),
        (SMALL.replace("for_s = 2", "for_s = nan"), "for_s"),
        (format!("{SMALL}writers = [2]\n"), "writer 2"),
        (format!("{SMALL}mix = {{ edit = 0 }}\n"), "no weight"),
        (format!("{SMALL}event = [{{ do = \"kill\", at_s = 3, device = 1 }}]\n"), "d1 killed"),
        (format!("{SMALL}event = [{{ do = \"kill\", at_s = 1, device = 2 }}]\n"), "device 2"),
        (format!("{SMALL}event = [{{ do = \"partition\", at_s = 1, groups = [[0], [0, 1]], cut = \"hold\" }}]\n"), "named twice"),
        (format!("{SMALL}event = [{{ do = \"join\", at_s = 1, device = 1, ticket = \"x\", ends = \"joined\" }}]\n"), "no ticket `x`"),
        (format!("{SMALL}[[expect.latency]]\nphase = \"play\"\np50_ms = 1\np99_ms = 2\n"), "`play`"),
        (format!("{SMALL}[short]\ntime = 2\n"), "short.time"),
    ] {
        let error = error(&text);
        assert!(error.contains(wanted), "{text}\n{error}");
    }
}

#[test]
fn a_short_run_happens_in_the_same_order() {
    let text = format!("{SMALL}event = [{{ do = \"import\", at_s = 1, device = 0, nodes = 100 }}]\n[short]\ntime = 0.5\nsize = 0.01\n");
    let mut scenario = Scenario::parse(&text).unwrap();
    scenario.shorten();
    assert_eq!(scenario.phase[0].for_s, 1.0);
    let Event { at_s, action: Action::Import { nodes, .. } } = scenario.phase[0].event[0] else { panic!("{:?}", scenario.phase[0].event) };
    assert_eq!((at_s, nodes), (0.5, 1));
}

/// The scenarios of the repository.
#[test]
fn the_scenarios_of_the_repository_are_scenarios() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let scenario = Scenario::read(&path).unwrap_or_else(|error| panic!("{error:#}"));
        assert_eq!(path.file_stem().unwrap().to_string_lossy(), scenario.name, "a scenario is called as its file");
        names.push(scenario.name);
    }
    for name in
        ["smoke", "partition", "churn", "offline-week", "import-while-editing", "conflict-storm", "removed-while-offline", "tickets"]
            .into_iter()
            .chain(["never-together", "relay-faults", "old-backup", "lost-database", "lying-relay"])
    {
        assert!(names.iter().any(|found| found == name), "{name} is missing among {names:?}");
    }
}
