use super::*;

#[test]
fn a_long_error_stream_keeps_its_end() {
    let text = format!("{}末尾", "é".repeat(5000));
    let said = Said::new(text.as_bytes()).to_string();
    assert!(said.ends_with("末尾") && said.len() <= 4000, "{}", said.len());
}

#[test]
fn a_script_that_reads_other_files_is_told_what_to_do_instead() {
    let do_so = || message!("words", text = "do so");
    let said = Said::of_script(b"psql:<stdin>:3: error: more.sql: No such file or directory", do_so()).to_string();
    assert!(said.starts_with("psql:<stdin>:3:") && said.ends_with(": do so"), "{said}");
    assert_eq!(Said::of_script(b"ERROR: no", do_so()).to_string(), "ERROR: no");
}

#[test]
fn silence_is_told() {
    assert_eq!(Said::new(b" \n").to_string(), "it gave no reason");
}

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
