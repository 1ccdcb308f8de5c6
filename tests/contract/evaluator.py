"""A process of `program.Evaluator`: for each line of JSON on stdin, the answers of one running system on stdout."""

import json
import sys

import phase4


def answer_until_stdin_ends():
    system = phase4.get_phase4_system()
    for line in sys.stdin:
        question = json.loads(line)
        print(json.dumps([system.is_feature_enabled(question["flag"], user) for user in question["users"]]), flush=True)


if __name__ == "__main__":
    answer_until_stdin_ends()
