//! The menu in Chinese: wide characters in prompts and lists, and what is typed in them.

use crate::choosing::site;
use crate::screen::Terminal;
use crate::support::Site;

fn chinese() -> Site {
    let mut site = site();
    site.set("LANG", "zh_CN.UTF-8");
    site
}

#[test]
fn the_menu_is_chinese_and_its_words_and_those_of_commands_both_filter_it() {
    let site = chinese();
    let mut terminal = Terminal::open(&site, &["stack.json"], 100, 50);
    terminal.asks("操作：").says("\n   3  重启服务\n").says("\n  12  检查引擎和主机\n").says("0 退出");
    terminal.keys("备份").says(">  7  备份数据库").says("   8  从备份恢复数据库");
    assert!(!terminal.text().contains("重启服务"), "{}", terminal.text());
    terminal.keys("\x7f\x7f").asks("操作：").keys("db reb").says(">  6  用交付的转储重建数据库");
    terminal.keys("\r").asks("对象：").says("警告: 状态未知：无法连接").says("编号  数据库");
    terminal.keys("2\r").asks("expert 将被交付转储中的数据替换。请输入它的名称以继续：").keys("否\r");
    terminal.says("未做任何更改").asks("操作：").keys("0\r");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_chinese_list_fits_40_columns_and_says_what_has_no_room() {
    let site = chinese();
    let mut terminal = Terminal::open(&site, &["stack.json"], 40, 12);
    terminal.asks("操作：").keys("4\r").asks("对象：").says("编号  服务").says("另有 16 行；25、17..25");
    assert!(terminal.lines().iter().all(|line| console::measure_text_width(line) < 40), "{:?}", terminal.lines());
    terminal.keys("数据库").says("列表中没有匹配项").keys("\x1b").asks("操作：").keys("0\r");
    assert_eq!(terminal.end(), 0);
}
