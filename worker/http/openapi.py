"""The description of `POST /predict`, OpenAPI 3.0.3, as JSON: which is YAML, too."""

from typing import Any

from worker.http.predictor import LARGEST_PIXELS

Schema = dict[str, Any]

_NUMBER: Schema = {"type": "number"}
_TEXT: Schema = {"type": "string"}
_ESTIMATE: Schema = {
    "bone_age": {"type": "number", "description": "Months."},
    "interval_months": {
        "type": "array",
        "items": _NUMBER,
        "minItems": 2,
        "maxItems": 2,
        "description": "The age that a reader would give lies in it with this coverage.",
    },
    "coverage": _NUMBER,
    "members": {
        "type": "array",
        "items": {"type": "object", "properties": {"member": _TEXT, "bone_age": _NUMBER}},
    },
}
_ALWAYS: Schema = {
    "sex_predicted": {"type": "boolean", "description": "Always false: sex is never guessed."},
    "sex_source": _TEXT,
    "mask_used": {"type": "boolean", "description": "A mask network cut the hand out."},
    "ignored_fields": {"type": "array", "items": _TEXT},
    "flags": {"type": "array", "items": _TEXT},
    "release": _TEXT,
    "release_version": _TEXT,
    "timings_ms": {"type": "object", "additionalProperties": _NUMBER},
    "notice": _TEXT,
}
_ERROR: Schema = {"error": {"type": "string", "description": "A code."}, "message": _TEXT}
_FORM: Schema = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "sex": {
            "type": "string",
            "enum": ["female", "male", "f", "m"],
            "description": "Needed, unless a DICOM header says it. In any case of letters.",
        },
        "use_mask": {
            "type": "boolean",
            "default": True,
            "description": "False: the whole image is read, by a release with a mask network.",
        },
        "mask_crop": {"type": "string", "description": "Without effect."},
        "use_invChecker": {"type": "string", "description": "Without effect."},
    },
}


def describe_interface(*, version: str, limit_megabytes: int, has_token: bool) -> Schema:
    """Return the document that `GET /` answers with.

    Args:
        version: of this software.
        limit_megabytes: of one request.
        has_token: a request must carry the token of this installation.
    """
    by_sex = {name: _object(_ESTIMATE) for name in ("female", "male")}
    limits = f"More than {limit_megabytes} MB, or more than {LARGEST_PIXELS // 10**6} Mpixel."
    unsuitable = "The image must not be read, or nobody said the sex: then by_sex holds both."
    post: Schema = {
        "summary": "Bone age of one hand. Research use only, not for diagnosis.",
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}},
        "responses": {
            "200": _response("The estimate.", {**_ESTIMATE, "used_sex": _TEXT, **_ALWAYS}),
            "400": _response("No file, or a field that cannot be understood.", _ERROR),
            "401": _response("No token, or a wrong one.", _ERROR),
            "413": _response(limits, _ERROR),
            "422": _response(unsuitable, {**_ERROR, "by_sex": _object(by_sex), **_ALWAYS}),
            "503": _response("Try again in some seconds.", _ERROR),
            "500": _response("The release is broken, or there is a bug.", _ERROR),
        },
    }
    document: Schema = {
        "openapi": "3.0.3",
        "info": {"title": "Bone age of a hand radiograph", "version": version},
        "paths": {"/predict": {"post": post}},
    }
    if has_token:
        post["security"] = [{"token": []}]
        document["components"] = {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}
        }
    return document


def _response(description: str, properties: Schema) -> Schema:
    content = {"application/json": {"schema": _object(properties)}}
    return {"description": description, "content": content}


def _object(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties}
