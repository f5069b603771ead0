#!/usr/bin/env python3
"""Trains a small .tiktoken file (needs the packages tiktoken and regex). The same bytes each time.

usage: make_tiktoken.py FILE [MERGES]

    make_tiktoken.py tests/data/tiktoken/cl100k_base.tiktoken 400
    make_tiktoken.py tests/fuzz/corpus/tiktoken/small 20
"""
import base64
import pathlib
import sys

from tiktoken._educational import bpe_train

# cl100k_base's, as tiktoken 0.14.0 has it; tests/runtime compares it with the installed package.
PATTERN = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]"
           r"|\s+(?!\S)|\s")

# Article 1 of the Universal Declaration of Human Rights, numbers, code, white space, marks and emoji.
TEXT = """\
All human beings are born free and equal in dignity and rights. They are endowed with reason and conscience and should act
towards one another in a spirit of brotherhood.
Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen begabt und sollen einander
im Geist der Brüderlichkeit begegnen.
Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison et de conscience et doivent
agir les uns envers les autres dans un esprit de fraternité.
Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como están de razón y conciencia, deben
comportarse fraternalmente los unos con los otros.
Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью.
人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。
すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。
모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.
يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق.
सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।
It's 1948; they're 30 articles, aren't they? WE'LL see: 3.14159, 1,000,000 and 2024-12-31, 50 % of 1e-5.

def area(r):
    if r < 0:
        raise ValueError("r < 0")
    return 3.14159 * r * r


for (int i = 0; i < n; ++i) {
\tsum += a[i] * b[i];
}
/* ---------------------- */
==== 👩\u200d🚀 🚀🚀 👍🏽 🇩🇪 👍 ====
"""


def main():
    path, n_merges = pathlib.Path(sys.argv[1]), int((sys.argv[2:] or [400])[0])
    ranks = bpe_train(TEXT, 256 + n_merges, PATTERN, visualise=None)
    # The trainer gives a token that comes about in two ways a second rank.
    assert sorted(ranks.values()) == list(range(256 + n_merges)), "a token was made twice: change the text"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{base64.b64encode(token).decode()} {rank}\n"
                            for token, rank in sorted(ranks.items(), key=lambda item: item[1])))


if __name__ == "__main__":
    main()
