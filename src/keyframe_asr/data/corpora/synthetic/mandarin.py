"""What the self-made Mandarin corpus says: strings of digits and short commands.

Only characters that espeak-ng marks one by one, so that each has a start of its own: it takes
some words (音乐, 空调, 停止) for one unit.
"""

from __future__ import annotations

from random import Random

DIGITS = "零一二三四五六七八九"
LONGEST_STRING = 7
COMMANDS = (
    "打开灯",
    "关闭灯",
    "打开电视",
    "关闭电视",
    "打开窗帘",
    "关闭窗帘",
    "打开风扇",
    "关闭风扇",
    "打开{}号灯",
    "关闭{}号灯",
    "音量{}",
    "播放新闻",
    "大声",
    "小声",
    "暂停",
    "继续",
    "前进",
    "后退",
    "左转",
    "右转",
    "打电话",
    "拍照",
    "回家",
    "取消",
    "确定",
)
"""`{}` stands for one of `COMMAND_DIGITS`."""
COMMAND_DIGITS = DIGITS[2:]
"""Without 一: 一号 is one of the words that espeak-ng does not take apart."""


def sentence(generator: Random) -> str:
    """Digits two times out of three, else a command."""
    if generator.random() < 2 / 3:
        return "".join(generator.choices(DIGITS, k=generator.randint(1, LONGEST_STRING)))
    return generator.choice(COMMANDS).format(generator.choice(COMMAND_DIGITS))


def words(text: str) -> list[str]:
    """The units that carry a time: characters."""
    return list(text)


def spoken(text: str) -> str:
    """How espeak-ng is asked for it."""
    return text
