use super::*;

#[test]
fn services_that_were_asked_to_end_while_they_stop_are_no_fault_of_the_database() {
    let stopping = |source: ServicesError| DatabasesError::Dependents {
        operation: DependentsOperation::Stop,
        database: "expert".to_owned(),
        source: Box::new(source),
    };
    assert!(stopping(ServicesError::Interrupted { report: Box::default() }).is_stop());
    assert!(!stopping(ServicesError::UnknownService("api".to_owned())).is_stop());
}

#[test]
fn a_full_disk_and_a_refused_password_are_told_with_what_to_do() {
    let path = std::path::Path::new("backups");
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    let full = DatabasesError::file(message!("verb-store-backup"), path)(full);
    let refused = DatabasesError::Login {
        server: message!("server-in-container", container = "db"),
        user: "app".to_owned(),
        source: Said::new(b"no"),
    };
    let dumping = DatabasesError::Tool {
        program: "pg_dump",
        database: "expert".to_owned(),
        code: 1,
        source: Said::new(b"pg_dump: error: could not write to file: No space left on device"),
    };
    let absent = DatabasesError::file(message!("verb-read"), path)(std::io::ErrorKind::NotFound.into());
    for error in [full, dumping, refused, absent] {
        assert!(error.hint().is_some(), "{error}");
    }
}
