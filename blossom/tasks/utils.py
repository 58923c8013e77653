"""Functions that the task files name with `!function`."""


def macro_f1(items):
    """Macro-averaged F1 of [(right label, chosen label), ...]; as lm-eval's KoBEST tasks, without asking the hub for it."""
    from sklearn.metrics import f1_score

    right, chosen = zip(*items, strict=True)
    return float(f1_score(right, chosen, average="macro"))


def kobest_copa_text(row):
    """The polyglot harness's prompt, with one space; lm-eval 0.4's shipped template has two."""
    return row["premise"] + {"원인": " 왜냐하면", "결과": " 그래서"}[row["question"]]


def nsmc_results(row, answers):
    """Paper X's rule: an answer counts when it contains the right one of 긍정 and 부정, whatever else it contains.

    return  acc (the rule), and beside it acc_strict (the right one alone), neither, both
    """
    right, wrong = (("부정", "긍정"), ("긍정", "부정"))[row["label"]]
    has, has_wrong = right in answers[0], wrong in answers[0]
    scores = {
        "acc": has,
        "acc_strict": has and not has_wrong,
        "neither": not has and not has_wrong,
        "both": has and has_wrong,
    }
    return {name: float(value) for name, value in scores.items()}
