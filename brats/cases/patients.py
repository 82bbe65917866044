"""The names, patients and grades of cases.

In: the path of a case, or its id, and tables of the data folder. Out: its id, patient and grade.
"""

import re

from brats.cases.names import UNNAMED, stem
from brats.errors import InputError, shortened
from brats.files import read_table

TABLE = "patients.csv"  # In the data folder; it decides where it exists.
# Names of folders, and ends of ids, that are a visit of a patient. Capitals make no difference.
VISIT = (
    r"(?:ses-\w+|(?:session|week|timepoint|time|tp|visit|day|month|fu|follow-?up)[-_ ]?\d+[a-z]?"
    r"(?:[-_]\d+)?|baseline|(?:pre|post)(?:-?op)?|[a-z]{0,4}(?:19|20)\d\d[-_.]?\d\d[-_.]?\d\d)"
)
# A number is a visit in a folder such as 001 or P001, but not in a year.
NUMBER, NUMBERED = r"\d{1,3}", r"(?!(?:19|20)\d\d(?:/|$))[a-z]{0,4}[-_ ]?\d+"
MOST_VISITS = 20  # A folder with more cases is no patient.
PATIENT = r"(?:sub|subject|pat|patient|patientid|pid|pt)[-_ ]*\d+"
INNER = rf"[^/]*/(?:{UNNAMED}|{VISIT})|{PATIENT}/[^/]*|{NUMBERED}/{NUMBER}"
# The last number of these ids is always 1, and they were patients in earlier versions.
BRATS_2017 = r"brats1\d"
GRADES = ("HGG", "LGG")
IDS = r"\w*subject_ID"  # Columns of ids in the tables of grades.


def case_id(path):
    """Returns the id of a case: the name of its folder or image.

    The folder of a visit, one without a name of its own such as `anat`, any folder in a patient's
    folder, and a number in a numbered one are named by their paths: "sub-01_ses-1", "001_2".
    """
    path = path.absolute()  # Of ".", too.
    names = [*path.parts[1:-1], stem(path)]
    start = len(names) - 1
    while start and _is(INNER, "/".join(names[start - 1 : start + 1])):
        start -= 1
    return "_".join(name for name in names[start:] if not _is(UNNAMED, name)) or names[-1]


def patient_of(case_id, edition):
    """Returns the patient of a case: the id without the visit, so that all visits stay together.

    The visit is what the edition says, or what follows the name of a patient ("sub-01"), or an end
    such as "_week-044", or a last number after another one that is at least as long.
    """
    if edition.visit and (found := re.search(edition.visit, case_id, re.IGNORECASE)):
        return case_id[: found.start()]
    if found := re.match(rf"{PATIENT}(?=_)", case_id, re.IGNORECASE):
        return found[0]
    patient = re.sub(rf"(?:[-_]{VISIT})+$", "", case_id, flags=re.IGNORECASE)
    number = re.search(r"(?:^|[-_])(\d+)[-_](\d+)$", patient)
    if number and len(number[2]) <= len(number[1]) and not re.match(BRATS_2017, patient, re.I):
        return patient[: number.start(2) - 1]
    return patient


def read_patients(root, folders):
    """Returns a dict from case id to patient: of the table, or of visits in a patient's folder.

    Args:
        root: The data folder, a `Path`.
        folders: Dict from the ids of its cases, which the table must have, to their folders.
    """
    path = root / TABLE
    if not path.exists():
        return _patients_by_folder(root, folders)
    patients = {}
    for row in read_table(path):
        row = {str(name).strip(): str(cell or "").strip() for name, cell in row.items()}
        case, patient = row.get("case", ""), row.get("patient", "")
        if case and patients.setdefault(case, patient) != patient:
            raise InputError(f"{path} has two patients for {case}. Remove one line.")
    if missing := [each for each in folders if not patients.get(each)]:
        raise InputError(
            f"{path} has no patient for {shortened(', '.join(missing), 80)}. Expected the columns "
            "case and patient, and a line for every case. Correct or remove the file."
        )
    return patients


def folder_grade(root, path):
    """Returns the grade of the folder that a case lies in, or None."""
    return next((name for name in path.relative_to(root).parts if name in GRADES), None)


def read_grades(root, paths):
    """Reads the tables `name_mapping*.csv` above some cases: a dict from every id to its grade."""
    folders = {place for path in paths for place in path.parents if place.is_relative_to(root)}
    grades = {}
    for table in sorted(path for place in folders for path in place.glob("name_mapping*.csv")):
        rows = read_table(table)
        # Tables of validation cases have no grades.
        unknown = {row.get("Grade") for row in rows} - {*GRADES, "NA", "", None}
        columns = [name for name in (rows[0] if rows else ()) if re.fullmatch(IDS, str(name))]
        if unknown or not columns:
            raise InputError(
                f"{table} is not a table of grades: expected a column Grade with HGG or LGG, and "
                "columns such as BraTS_2020_subject_ID, separated by commas. Correct or remove it."
            )
        for row in rows:
            grades |= {row[name]: row["Grade"] for name in columns if row.get("Grade") in GRADES}
    return grades


def _is(pattern, name):
    return re.fullmatch(pattern, name, re.IGNORECASE) is not None


def _patients_by_folder(root, folders):
    """Returns the patients of a few cases in a folder such as P001, named "first" or "1"."""
    visits = {}
    for case, folder in folders.items():
        folder = folder.parent if _is(UNNAMED, folder.name) else folder
        visits.setdefault(folder.parent, {}).setdefault(folder, case)
    return {
        case: patient.name
        for patient, some in visits.items()
        if patient != root and 1 < len(some) <= MOST_VISITS and _is(NUMBERED, patient.name)
        for folder, case in some.items()
        if _is(rf"(?:scan|exam|study|mri?)?[-_ ]?{NUMBER}|\D+", folder.name)
    }
