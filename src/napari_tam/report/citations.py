"""Builds a methods paragraph sentence by sentence, and the list of references that it cites."""

from __future__ import annotations

from dataclasses import dataclass, field

_REFERENCES = {
    "Stringer et al. 2021": "Stringer C, Wang T, Michaelos M, Pachitariu M. Cellpose: a generalist algorithm "
    "for cellular segmentation. Nat Methods 2021;18:100-106. doi:10.1038/s41592-020-01018-x",
    "McWhorter et al. 2013": "McWhorter FY, Wang T, Nguyen P, Chung T, Liu WF. Modulation of macrophage "
    "phenotype by cell shape. Proc Natl Acad Sci USA 2013;110:17253-17258. doi:10.1073/pnas.1308887110",
    "Guo et al. 2017": "Guo C, Pleiss G, Sun Y, Weinberger KQ. On calibration of modern neural networks. "
    "Proc ICML 2017, PMLR 70:1321-1330",
    "Pužar Dominkuš et al. 2018": "Pužar Dominkuš P, Stenovec M, Sitar S, et al. PKH26 labeling of "
    "extracellular vesicles: characterization and cellular internalization of contaminating PKH26 "
    "nanoparticles. Biochim Biophys Acta Biomembr 2018;1860:1350-1361. PubMed 29551275",
    "Manders et al. 1993": "Manders EMM, Verbeek FJ, Aten JA. Measurement of co-localization of objects in "
    "dual-colour confocal images. J Microsc 1993;169:375-382",
    "Bolte and Cordelières 2006": "Bolte S, Cordelières FP. A guided tour into subcellular colocalization "
    "analysis in light microscopy. J Microsc 2006;224:213-232",
    "Costes et al. 2004": "Costes SV, Daelemans D, Cho EH, et al. Automatic and quantitative measurement of "
    "protein-protein colocalization in live cells. Biophys J 2004;86:3993-4003",
    "Lord et al. 2020": "Lord SJ, Velle KB, Mullins RD, Fritz-Laylin LK. SuperPlots: communicating "
    "reproducibility and variability in cell biology. J Cell Biol 2020;219:e202001064. "
    "doi:10.1083/jcb.202001064",
    "Hedges 1981": "Hedges LV. Distribution theory for Glass's estimator of effect size and related "
    "estimators. J Educ Stat 1981;6:107-128",
    "Holm 1979": "Holm S. A simple sequentially rejective multiple test procedure. Scand J Stat 1979;6:65-70",
    "Welch 1947": "Welch BL. The generalization of 'Student's' problem when several different population "
    "variances are involved. Biometrika 1947;34:28-35",
    "Fukai and Kawaguchi 2023": "Fukai YT, Kawaguchi K. LapTrack: linear assignment particle tracking with "
    "tunable metrics. Bioinformatics 2023;39:btac799. doi:10.1093/bioinformatics/btac799",
}


@dataclass
class Methods:
    """Paragraphs, and the references that they cite, in order."""

    paragraphs: list[str] = field(default_factory=list)
    cited: dict[str, str] = field(default_factory=dict)

    @property
    def references(self) -> list[str]:
        """The references as a list."""
        return list(self.cited.values())

    def cite(self, *names: str) -> str:
        """Return the citation of references as ``(Author year; …)``, and note them."""
        self.cited.update({name: _REFERENCES[name] for name in names})
        return f"({'; '.join(names)})"

    def add(self, *sentences: str) -> None:
        """Add a paragraph of sentences; empty ones are dropped."""
        text = " ".join(sentence.strip() for sentence in sentences if sentence)
        if text:
            self.paragraphs.append(text)

    def text(self) -> str:
        """Return all of it as plain text."""
        parts = list(self.paragraphs)
        if self.cited:
            lines = [f"{k}. {text}" for k, text in enumerate(self.references, 1)]
            parts.append("\n".join(["References", *lines]))
        return "\n\n".join(parts) + "\n"
