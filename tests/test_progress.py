"""The bar passes everything through and is silent off a terminal."""

from exastorm.progress import ProgressBar, track


def test_items_pass_through_and_nothing_is_printed(capsys):
    assert list(track(range(3), "counting")) == [0, 1, 2]
    assert list(track((i for i in "ab"), "counting", total=2)) == ["a", "b"]
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_the_bar_moves_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with ProgressBar("training", 2) as bar:
        bar.advance(note="loss 0.31")
        bar.advance()
    shown = capsys.readouterr().err
    assert "training" in shown
    assert "2/2" in shown
    assert "loss 0.31" in shown
