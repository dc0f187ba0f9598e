use super::*;

fn fill(checkpoints: &Checkpoints, number: u8, bytes: usize) -> PathBuf {
    let folder = checkpoints.folder().unwrap().join(hex(&[number; 32]));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(INDEX_FILE), vec![0; bytes]).unwrap();
    folder
}

fn age(folder: &Path, by: Duration) {
    let file = File::options().write(true).open(folder.join(INDEX_FILE)).unwrap();
    file.set_modified(SystemTime::now() - by).unwrap();
}

#[test]
fn instances_on_one_data_folder_have_slots_of_their_own() {
    let data = tempfile::tempdir().unwrap();
    let (first, second) = (Checkpoints::open(data.path(), 1), Checkpoints::open(data.path(), 1));
    assert_ne!(first.folder(), second.folder());
    let was = first.folder().unwrap().to_owned();
    drop(first);
    assert_eq!(Checkpoints::open(data.path(), 1).folder(), Some(&*was), "whoever starts next takes the free slot");
    assert_eq!(Checkpoints::open(data.path(), 0).folder(), None, "none are wanted");
    let file = data.path().join("file");
    fs::write(&file, "").unwrap();
    assert_eq!(Checkpoints::open(&file, 1).folder(), None, "no place for them is no fault");
}

#[tokio::test]
async fn the_oldest_leave_when_all_take_too_much_and_files_in_use_stay() {
    let data = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(data.path(), 250);
    let folders: Vec<PathBuf> = (0..4).map(|number| fill(&checkpoints, number, 100)).collect();
    for (folder, minutes) in folders.iter().zip([40, 30, 20, 10]) {
        age(folder, Duration::from_secs(60 * minutes));
    }
    // The oldest is in use.
    let shared = checkpoints.shared.as_ref().unwrap();
    let used = shared.take_unused(&WorkspaceId([0; 32])).unwrap();
    assert_eq!(checkpoints.sweep(&[]), 200);
    assert_eq!(folders.iter().map(|folder| folder.exists()).collect::<Vec<_>>(), [true, false, false, true]);
    // What nobody writes to leaves in time, and so does what the database does not hold any more.
    drop(used);
    age(&folders[0], AGE_MAX + Duration::from_secs(60));
    assert_eq!(checkpoints.sweep(&[WorkspaceId([3; 32])]), 0);
    assert!(checkpoints.workspaces().is_empty());
}

#[test]
fn what_an_instance_that_is_no_more_left_leaves_in_time() {
    let data = tempfile::tempdir().unwrap();
    let (first, second) = (Checkpoints::open(data.path(), 1_000), Checkpoints::open(data.path(), 1_000));
    let (old, young) = (fill(&second, 1, 10), fill(&second, 2, 10));
    age(&old, AGE_MAX + Duration::from_secs(60));
    first.sweep(&[]);
    assert!(old.exists(), "its slot is held");
    drop(second);
    first.sweep(&[]);
    assert!(!old.exists() && young.exists());
}

#[test]
fn a_file_is_lent_to_one_at_a_time() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let data = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(data.path(), 1_000);
    let workspace = WorkspaceId([1; 32]);
    let file = checkpoints.take(workspace, runtime.handle()).unwrap();
    assert!(checkpoints.shared.as_ref().unwrap().take_unused(&workspace).is_none());
    assert_eq!(file.anchor().unwrap(), None);
    drop(file);
    assert!(checkpoints.take(workspace, runtime.handle()).is_some());
}
