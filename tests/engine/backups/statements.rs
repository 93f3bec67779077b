//! Statements and shells: `db sql` and `db shell`.

use super::*;

#[test]
fn a_shell_is_psql_with_the_terminal_and_ends_with_its_exit_code() {
    let shop = Shop::open();
    let mut session = terminal(&shop.stack, &["db", "shell", "shop"], 91, 31);
    session.exp_string("shop=# ").unwrap();
    let master = session.process().get_file_handle().unwrap();
    let is_raw = || !tcgetattr(&master).unwrap().local_modes.contains(LocalModes::ICANON);
    assert!(is_raw(), "keys go through as they are");
    session.send_line("\\! until [ \"$(stty size)\" = '31 91' ]; do :; done; echo si''zed").unwrap();
    session.exp_string("sized").unwrap();
    tcsetwinsize(&master, Winsize { ws_row: 40, ws_col: 133, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    session.send_line("\\! until [ \"$(stty size)\" = '40 133' ]; do :; done; echo re''sized").unwrap();
    session.exp_string("resized").unwrap();
    assert_eq!(seen_in_processes("m4rker"), Vec::<String>::new());

    // Ctrl-C reaches psql, which goes on; so do letters that are no ASCII.
    session.send_line("select pg_sleep(600);").unwrap();
    let sleeps = "select count(*) from pg_stat_activity where query like 'select pg_sleep(6%'";
    eventually("the statement runs", || shop.psql("postgres", sleeps) == "1");
    session.send_control('c').unwrap();
    session.exp_string("canceling statement due to user request").unwrap();
    session.send_line("select '档' || '案' as \"名\";").unwrap();
    // What the terminal gives comes byte by byte.
    let joined: String = "档案".bytes().map(char::from).collect();
    let screen = session.exp_string(&joined).unwrap();
    assert!(!screen.contains("m4rker"), "{screen}");
    session.send_line("\\q").unwrap();
    assert_eq!(exit_code(&session), 0);
    assert!(!is_raw(), "the terminal is as it was");

    shop.psql("postgres", "DROP DATABASE shop");
    let mut session = terminal(&shop.stack, &["db", "shell", "1"], 80, 24);
    session.exp_string("database \"shop\" does not exist").unwrap();
    assert_eq!(exit_code(&session), 2, "psql's own exit code");
    let run = shop.run(&["db", "shell", "shop"]).failure(2);
    assert!(run.stderr.contains("needs a terminal") && run.stderr.contains("db sql shop"), "{}", run.stderr);
}

#[test]
fn a_shell_that_nobody_attends_to_any_more_ends_and_its_transaction_with_it() {
    let shop = Shop::open();
    let open =
        "select count(*) from pg_stat_activity where application_name like 'dpl-%' and state = 'idle in transaction'";
    for (database, signal) in [("shop", Signal::SIGKILL), ("shop", Signal::SIGTERM), ("far", Signal::SIGKILL)] {
        let mut session = terminal(&shop.stack, &["db", "shell", database], 80, 24);
        session.exp_string(&format!("{database}=# ")).unwrap();
        session.send_line("begin; create table held ();").unwrap();
        eventually("a transaction is open", || shop.psql("postgres", open) == "1");
        // A pager is a process of psql's own.
        session.send_line("\\! echo pag''er; cat").unwrap();
        session.exp_string("pager").unwrap();
        session.process_mut().signal(signal).unwrap();
        eventually("nobody holds a lock", || shop.psql("postgres", open) == "0");
    }
    shop.leaves_no_helper();
    let logs = shop.stack.docker(&["logs", &shop.stack.container("db")]);
    assert!(!logs.contains("terminated by signal"), "the server itself never noticed: {logs}");
}

#[test]
fn ctrl_c_ends_a_statement_at_the_server_before_it_commits() {
    let shop = Shop::open();
    shop.psql("shop", "CREATE FUNCTION slow() RETURNS bool LANGUAGE sql AS 'SELECT pg_sleep(600) IS NOT NULL'");
    let command = ["db", "sql", "shop", "DELETE FROM stock WHERE slow()", "--yes", "-f", "stack.json"];
    let mut running = shop.stack.site.command(&command).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let active = "select count(*) from pg_stat_activity where query like '%DELETE FROM stock%' and state = 'active' \
         and pid <> pg_backend_pid()";
    eventually("the statement runs", || shop.psql("postgres", active) == "1");
    rustix::process::kill_process(rustix::process::Pid::from_child(&running), rustix::process::Signal::INT).unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(130));
    eventually("the statement has ended", || shop.psql("postgres", active) == "0");
    assert_eq!(shop.psql("shop", "select count(*) from stock"), "40000");
}

#[test]
fn a_shell_takes_what_a_database_without_an_encoding_holds() {
    let shop = Shop::open();
    shop.psql("postgres", "DROP DATABASE far");
    let create = "CREATE DATABASE far TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'";
    shop.psql("postgres", create);
    for (database, encoding) in [("far", "SQL_ASCII"), ("shop", "UTF8")] {
        let mut session = terminal(&shop.stack, &["db", "shell", database], 80, 24);
        session.exp_string(&format!("{database}=# ")).unwrap();
        session.send_line("\\echo is :ENCODING").unwrap();
        session.exp_string(&format!("is {encoding}")).unwrap();
        session.send_line("\\q").unwrap();
        assert_eq!(exit_code(&session), 0);
    }
    // 档 in GBK.
    let values = ["db", "sql", "far", "select convert_from('\\xb5b5', 'SQL_ASCII') as x"];
    assert_eq!(shop.run(&values).success().stdout, "x\n--------\n\\xb5\\xb5\n");
    shop.leaves_no_helper();
}

#[test]
fn where_the_servers_memory_is_limited_statements_come_from_a_container_of_their_own() {
    let shop = Shop::open();
    let server = shop.stack.container("db");
    let ask = |sleep: &str| {
        let mut command = shop.stack.site.command(&["db", "sql", "shop", sleep, "--yes", "-f", "stack.json"]);
        let mut running = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let active = format!("select count(*) from pg_stat_activity where query like '{sleep}%' and state = 'active'");
        eventually("the statement runs", || shop.psql("postgres", &active) == "1");
        let is_inside = shop.stack.docker(&["top", &server, "-eo", "pid,args"]).contains("fieldsep=");
        let helpers = shop.helpers().lines().count();
        let pid = rustix::process::Pid::from_child(&running);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        assert_eq!(running.wait().unwrap().code(), Some(130));
        eventually("the statement has ended", || shop.psql("postgres", &active) == "0");
        shop.leaves_no_helper();
        (is_inside, helpers)
    };
    assert_eq!(ask("select pg_sleep(601)"), (true, 0), "without a limit it takes nothing from anybody");
    shop.stack.docker(&["update", "--memory", "1g", "--memory-swap", "2g", &server]);
    assert_eq!(ask("select pg_sleep(602)"), (false, 1));
    let answer = shop.run(&["db", "sql", "shop", "select count(*) from stock", "--csv"]).success();
    assert_eq!(answer.stdout, "count\n40000\n");
    shop.leaves_no_helper();
}

#[test]
fn statements_give_tables_documents_and_lines_of_errors() {
    let shop = Shop::open();
    let text = "create table t (id int, 名称 text); insert into t values (1, '档案'), (1000, null) returning *;\n\
        select ';' as \"a;b\", 1.50 as n -- ;\n";
    let answer = shop.run(&["db", "sql", STRANGE, text]).success();
    assert_eq!(answer.stdout, "  id  名称\n----  ----\n   1  档案\n1000  NULL\n\na;b     n\n---  ----\n;    1.50\n");
    let answer = shop.run(&["db", "sql", "2", "--json", "select id, 名称, id > 1 as b from t"]).success().json();
    assert_eq!(answer["results"][0]["rows"], json!([[1, "档案", false], [1000, null, true]]));
    assert_eq!(answer["results"][0]["columns"][1], json!({"name": "名称", "type": "text"}));
    shop.stack.site.write("q.sql", "select 1;\n\nselect\n nope;\ncreate table never ()");
    let failed = shop.run(&["db", "sql", "2", "--file", "q.sql"]).failure(1);
    assert!(failed.stderr.contains("line 3") && failed.stderr.contains("LINE 4:"), "{}", failed.stderr);
    assert_eq!(shop.psql(STRANGE, "select to_regclass('never') is null"), "t");
    let input = shop.stack.site.run_with_input(&["db", "sql", "2", "--csv", "-f", "stack.json"], "table t");
    assert_eq!(input.stdout, "id,名称\n1,档案\n1000,\n");
    // An argument that looks like a manifest is a statement.
    let failed = shop.run(&["db", "sql", "2", "stack.json"]).failure(1);
    assert!(failed.stderr.contains("syntax error"), "{}", failed.stderr);
    for refused in ["\\! id", "copy t from stdin", "select 'open"] {
        shop.run(&["db", "sql", "2", refused]).failure(1);
    }
    let copied = shop.run(&["db", "sql", "2", "copy t to stdout"]).success();
    assert_eq!(copied.stdout, "1\t档案\n1000\t\\N\n");
}
