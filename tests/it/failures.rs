//! The failure tables of docs/operations.md against the tests: each row is played on the real binary by the tests that are
//! listed here, and nothing is listed that has no row.

use std::collections::BTreeSet;

use crate::architecture::sources_below;

const PAGE: &str = include_str!("../../docs/operations.md");

/// How a row begins, and the tests that play it.
type Row = (&'static str, &'static [&'static str]);

/// The table at the head of the subsection *UCS*.
const OF_UCS: &[Row] = &[
    (
        "UCS is unreachable",
        &[
            "proxying::upstream_fault_matrix::connections::a_ucs_that_refuses_connections_is_unreachable_until_it_listens",
        ],
    ),
    (
        "UCS is unreachable during a flip,",
        &[
            "surroundings::ucs_mode::where_ucs_refuses_connections_maintenance_is_to_be_had_and_production_is_not",
            "upstream_mode::a_refusal_of_ucs_takes_the_flip_back",
        ],
    ),
    (
        "An expiry cannot be carried out",
        &["surroundings::flips::an_end_that_cannot_be_reached_is_an_alarm_until_it_is_taken_away"],
    ),
    (
        "UCS's status requires a login",
        &["surroundings::ucs_mode::a_ucs_that_wants_a_login_has_a_mode_that_the_gateway_may_not_see"],
    ),
    (
        "UCS's status no longer reports a mode",
        &["surroundings::ucs_mode::a_status_that_tells_no_mode_spares_ucs_no_flip_to_maintenance"],
    ),
    (
        "UCS is slow",
        &[
            "proxying::upstream_fault_matrix::a_ucs_that_ends_before_its_answer_is_told_so",
            "proxying::connections::more_requests_than_connections_and_queue_are_told_so_at_once",
        ],
    ),
    (
        "UCS breaks off a response",
        &["proxying::upstream_fault_matrix::a_ucs_that_ends_within_its_answer_cuts_the_client_s"],
    ),
    (
        "UCS was restarted",
        &[
            "upstream_mode::a_ucs_that_was_restarted_is_set_back",
            "surroundings::starts::after_a_restart_of_both_the_acknowledged_mode_is_kept",
        ],
    ),
    ("UCS goes to maintenance by itself", &["upstream_mode::a_ucs_that_closes_itself_is_followed"]),
    (
        "UCS goes to production past the gateway",
        &[
            "upstream_mode::a_ucs_that_opens_past_the_gateway_is_set_back_with_an_alarm_and_an_entry_until_an_operator_confirms",
        ],
    ),
    (
        "UCS cannot be set",
        &[
            "surroundings::ucs_mode::a_ucs_that_was_behind_is_behind_after_a_restart_too",
            "surroundings::starts::a_ucs_that_will_not_be_opened_is_followed_with_an_alarm",
        ],
    ),
    (
        "UCS has no profile schema",
        &[
            "no_schema::an_empty_list_means_undefined_and_closes_production",
            "surroundings::schema::a_schema_that_is_back_reopens_nothing_and_is_told",
        ],
    ),
    (
        "It is unknown whether UCS has a profile schema",
        &[
            "no_schema::failures_of_the_probe_change_nothing",
            "surroundings::schema::probes_that_tell_nothing_for_ten_intervals_are_an_alarm",
        ],
    ),
];

/// What UCS may do wrong with one request.
const OF_REQUESTS: &[Row] = &[
    (
        "refuses connections",
        &[
            "proxying::upstream_fault_matrix::connections::a_ucs_that_refuses_connections_is_unreachable_until_it_listens",
        ],
    ),
    (
        "accepts no connection within",
        &["proxying::upstream_fault_matrix::connections::a_ucs_whose_backlog_is_full_is_late"],
    ),
    (
        "closes or resets before the head",
        &["proxying::upstream_fault_matrix::a_ucs_that_ends_before_its_answer_is_told_so"],
    ),
    (
        "is silent for `--first-byte-timeout`",
        &[
            "proxying::answers_of_ucs::interim_answers_that_go_on_and_on_end_at_the_deadline",
            "proxying::answers_of_ucs::a_head_that_drips_ends_at_the_deadline",
            "proxying::upstream_fault_matrix::connections::an_upload_that_ucs_takes_no_more_of_ends_with_its_answer",
        ],
    ),
    (
        "sends a malformed HTTP/1 head",
        &["proxying::upstream_fault_matrix::said::nonsense_instead_of_a_head_is_never_passed_on"],
    ),
    (
        "closes or resets within a body",
        &["proxying::upstream_fault_matrix::a_ucs_that_ends_within_its_answer_cuts_the_client_s"],
    ),
    (
        "is silent within a body",
        &["proxying::upstream_fault_matrix::a_ucs_that_ends_within_its_answer_cuts_the_client_s"],
    ),
    (
        "sends malformed chunks",
        &["proxying::upstream_fault_matrix::said::a_body_that_cannot_be_read_never_looks_whole"],
    ),
    (
        "sends more than it announced",
        &[
            "proxying::upstream_fault_matrix::said::what_ucs_says_too_much_meets_nobody",
            "proxying::messages::a_body_that_may_not_be_and_comes_late_meets_no_other_request",
        ],
    ),
];

const OF_THE_MACHINE: &[Row] = &[
    (
        "Disk full, read-only, or broken (a sync fails)",
        &[
            "machine::disk::a_full_disk_refuses_flips_and_nothing_else",
            "machine::disk::a_read_only_disk_refuses_flips_and_nothing_else",
            "machine::disk::a_sync_that_fails_refuses_flips_and_nothing_else",
            "machine::disk::a_last_sync_that_fails_in_a_drain_takes_the_flip_back",
            "machine::disk::a_disk_that_may_hold_what_was_not_done_is_an_alarm_until_it_does_not",
            "crash::a_flip_that_cannot_settle_is_taken_back_and_saved_later",
        ],
    ),
    ("Disk slow or hanging", &["machine::disk::a_disk_that_hangs_holds_up_the_flip_and_nothing_else"]),
    ("Disk full, read-only or broken at the start", &["machine::disk::on_a_disk_that_keeps_nothing_it_does_not_start"]),
    ("`mode.json` or the token cannot be read", &["machine::disk::a_mode_that_cannot_be_read_does_not_start"]),
    (
        "Something else stands in the place of a file of the state directory",
        &["files::nothing_starts_with_something_else_in_the_place_of_a_state_file"],
    ),
    (
        "`mode.json` is torn, or of a foreign format",
        &["crash::a_torn_record_is_set_aside_and_closes", "crash::a_foreign_record_is_set_aside_and_closes"],
    ),
    ("The last journal line is torn", &["crash::an_append_that_was_interrupted_is_no_alarm"]),
    (
        "The journal is moved, rotated, cut or written to",
        &[
            "journal::a_journal_that_was_moved_goes_on_in_a_new_file_that_names_the_lost_head",
            "journal::a_journal_that_was_rotated_goes_on_in_the_file_that_was_made",
            "journal::a_journal_that_was_truncated_goes_on_without_a_hole",
            "journal::a_line_of_another_process_is_kept_and_not_cut_off",
            "journal::a_history_that_cannot_be_read_is_an_error_and_not_empty",
        ],
    ),
    ("The journal was truncated or edited before a start", &["crash::a_journal_that_was_cut_or_changed_is_an_alarm"]),
    ("`mode.json` is missing", &["crash::a_missing_record_closes_when_there_is_a_journal"]),
    ("`mode.json` is an old copy", &["machine::disk::an_old_copy_of_the_record_is_an_alarm"]),
    ("The state directory is lost", &["crash::a_directory_that_is_gone_is_a_first_start"]),
    (
        "The clock jumps",
        &["machine::clock::a_jump_moves_no_deadline", "machine::clock::an_expiry_goes_by_the_clock_as_it_is"],
    ),
    (
        "Killed (SIGKILL",
        &[
            "crash::kills_at_any_moment_lose_no_acknowledged_flip",
            "crash::a_crash_in_a_drain_is_taken_back_after_the_grace",
            "surroundings::flips::a_flip_that_a_crash_left_is_taken_back_before_ucs_is",
        ],
    ),
    (
        "Paused and continued",
        &[
            "machine::process::a_pause_over_the_deadline_of_a_drain_leaves_one_truth",
            "machine::process::a_pause_loses_no_request",
        ],
    ),
    ("Stopped (SIGTERM)", &["cli::serve::a_stop_lets_what_runs_end_and_takes_nothing_new"]),
    (
        "The log is not read, or its disk is full",
        &[
            "machine::logs::closed_log_streams_stop_nothing",
            "machine::logs::a_full_disk_under_the_logs_stops_nothing",
            "machine::logs::log_readers_that_do_not_read_stop_nothing",
            "machine::logs::who_reads_the_log_again_is_told_how_many_lines_are_missing",
        ],
    ),
    (
        "A part of the gateway dies",
        &[
            "machine::injected::a_part_that_panics_or_ends_unasked_ends_the_process_with_its_record_whole",
            "machine::supervision::a_worker_that_dies_in_a_stop_ends_it",
        ],
    ),
    (
        "A part of the gateway stands still",
        &[
            "machine::injected::a_part_that_stands_still_is_named_by_livez",
            "machine::injected::the_watchdog_is_fed_until_a_part_stands_still",
        ],
    ),
    (
        "A second process uses the same directory",
        &[
            "crash::a_directory_has_one_gateway",
            "journal::no_second_gateway_starts_on_a_directory_whose_lock_file_was_removed",
        ],
    ),
    (
        "The program of `--on-change` hangs",
        &[
            "on_change::one_that_hangs_is_killed_and_counted_and_delays_nothing",
            "on_change::one_that_fails_or_is_missing_is_counted_and_said",
            "on_change::one_that_does_not_read_its_input_is_no_trouble",
        ],
    ),
    (
        "No file descriptors are left",
        &[
            "machine::process::without_descriptors_what_is_there_goes_on_and_flips_are_refused",
            "machine::process::clients_leave_descriptors_for_ucs_for_operators_and_for_the_state",
            "machine::process::a_soft_limit_of_descriptors_is_raised_as_far_as_the_connections_need",
        ],
    ),
    ("A port is in use", &["cli::serve::an_address_that_is_taken_is_named"]),
];

const OF_SETTINGS: &[Row] = &[
    ("`routes.yaml` has faults at the start", &["cli::serve::a_faulty_table_is_told_whole_and_nothing_starts"]),
    (
        "`routes.yaml` has faults at a reload",
        &[
            "admin::routes::a_faulty_table_is_told_whole_and_the_last_good_one_stays",
            "admin::routes::sighup_reloads_and_logs_the_faults",
        ],
    ),
    ("Reload during a flip", &["flip_events::the_mode_is_shown_and_a_reload_is_refused_while_ucs_hangs"]),
    ("`routes.yaml` cannot be read to its end", &["flip_events::a_route_file_that_hangs_holds_up_nothing"]),
    ("A request matches no route", &["modes::what_no_route_takes_is_not_found_and_never_reaches_ucs"]),
    (
        "A watched file (`--watch-files`) is broken",
        &[
            "file_watch::a_broken_file_is_told_once_and_the_next_good_one_comes_into_force",
            "file_watch::a_pipe_in_place_of_a_file_is_not_read",
        ],
    ),
    ("The admin token is lost", &["admin::principals::a_token_that_is_lost_is_made_anew_at_a_start"]),
    (
        "`--routes`, `--access` or `--upstream-credentials` names a folder",
        &[
            "files::whatever_is_in_the_place_of_a_file_changes_nothing_and_is_told",
            "files::nothing_starts_with_something_else_in_the_place_of_a_file",
        ],
    ),
    (
        "A file of TLS is broken",
        &[
            "tls::admin::flags_that_contradict_each_other_are_told",
            "tls::renewal::a_pair_that_cannot_be_used_changes_nothing_and_is_told",
        ],
    ),
    (
        "A certificate has expired",
        &[
            "tls::renewal::a_certificate_that_has_expired_is_better_than_none_at_a_start",
            "tls::renewal::a_pair_that_cannot_be_used_changes_nothing_and_is_told",
        ],
    ),
    ("The password for UCS changes", &["files::a_new_login_for_ucs_is_used_without_a_restart"]),
    (
        "`access.yaml` has faults at the start",
        &["admin::access::faults_in_access_yaml_are_all_told_and_nothing_starts"],
    ),
    ("`access.yaml` has faults at a reload", &["admin::principals::a_broken_file_changes_nothing_and_says_so"]),
];

/// The tables by their heading and head line. That of UCS's own mode is the list of `faults_of_ucs`.
const TABLES: [(&str, &str, &[Row]); 4] = [
    ("### UCS", "| failure |", OF_UCS),
    ("### UCS", "| UCS | the client gets |", OF_REQUESTS),
    ("### The machine", "| failure |", OF_THE_MACHINE),
    ("### Settings", "| failure |", OF_SETTINGS),
];

/// The first cell of each row of a table below a heading.
fn first_cells(heading: &str, head: &str) -> Vec<&'static str> {
    let section = PAGE.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}")).1;
    let table = section.split_once(&format!("\n{head}")).unwrap_or_else(|| panic!("no {head} in {heading}")).1;
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_start_matches('|').split(" | ").next().unwrap().trim()).collect()
}

/// The names of all tests, each with its modules.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (path, text) in sources_below("tests/it") {
        let module = path.trim_end_matches(".rs").replace('/', "::");
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if line.trim() == "#[test]" {
                let name = lines.by_ref().find_map(|line| line.trim_start().strip_prefix("fn ")?.split('(').next());
                found.insert(format!("{module}::{}", name.unwrap()));
            }
        }
    }
    assert!(found.len() > 400, "only {} tests were found", found.len());
    found
}

#[test]
fn every_row_of_a_failure_table_is_played_by_tests_and_every_test_listed_is_there() {
    let tests = tests();
    let mut faults = Vec::new();
    for (heading, head, listed) in TABLES {
        let rows = first_cells(heading, head);
        // The longest beginning counts: one may be the beginning of another.
        let played_by = |row: &str| {
            listed.iter().filter(|(begins, _)| row.starts_with(begins)).max_by_key(|(begins, _)| begins.len())
        };
        let mut used = BTreeSet::new();
        for row in &rows {
            match played_by(row) {
                Some((begins, _)) => {
                    faults.extend((!used.insert(begins)).then(|| format!("{begins:?} names two rows")))
                }
                None => faults.push(format!("{heading}: no test is listed for {row:?}")),
            }
        }
        faults.extend(
            listed
                .iter()
                .filter(|(begins, _)| !used.contains(begins))
                .map(|(begins, _)| format!("{heading}: no row begins with {begins:?}")),
        );
        let named = listed.iter().flat_map(|(_, tests)| *tests);
        faults.extend(named.filter(|name| !tests.contains(**name)).map(|name| format!("there is no test {name}")));
        faults.extend(
            listed.iter().filter(|(_, tests)| tests.is_empty()).map(|(begins, _)| format!("no test: {begins}")),
        );
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
