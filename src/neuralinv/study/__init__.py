"""What is found out about networks, matrices and results: accuracy by condition number, figures and reports, advice
before training (:mod:`neuralinv.study.advise`), the experiments on where networks can invert
(:mod:`neuralinv.study.experiments`), and an auto-encoder that needs block-tridiagonal factors
(:mod:`neuralinv.study.lorenz_vae`).

Nothing is imported here: figures need matplotlib, and who asks for advice does not.
"""
