window.MathJax = { tex: { displayMath: [["$$", "$$"]], inlineMath: [] } };
