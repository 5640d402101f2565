"""A shop that checks passwords itself and asks two-step for the second step, in Flask."""

import os
import secrets
import threading
import time
from datetime import datetime, timezone
from urllib.parse import quote, urlsplit

import jwt  # pip install 'pyjwt[crypto]'
import requests  # pip install requests
from flask import Flask, redirect, render_template_string, request, session  # pip install flask
from werkzeug.exceptions import Forbidden, HTTPException, ServiceUnavailable, TooManyRequests, Unauthorized
from werkzeug.security import check_password_hash, generate_password_hash

SHOP_URL = os.environ["SHOP_URL"]  # https://shop.example
TWO_STEP_API = os.environ["TWO_STEP_API"]  # where two-step's API listens
TWO_STEP_URL = os.environ["TWO_STEP_URL"]  # its public_url: browsers open it, and it is the issuer of results
TWO_STEP_KEY = os.environ["TWO_STEP_KEY"]  # two-step keys create
PRODUCT = "shop"  # [products.shop]: the audience of results

shop = Flask(__name__)
shop.secret_key = os.environ["SHOP_SECRET"]  # signs the session, which Flask keeps in a cookie
https = SHOP_URL.startswith("https:")
shop.config.update(
    SESSION_COOKIE_NAME="__Host-shop" if https else "shop",
    SESSION_COOKIE_SECURE=https,
    SESSION_COOKIE_SAMESITE="Lax",  # with Strict, browsers would not send it when they return from two-step
)

# Two users of a demo. two-step knows them by `id`, which never changes. Each password change increments `epoch`.
USERS = {
    name: {"id": f"u-{number}", "password": generate_password_hash(password), "epoch": 0}
    for number, (name, password) in enumerate([("ada", "lovelace"), ("alan", "turing-1936")], 1)
}
DUMMY_HASH = generate_password_hash(secrets.token_hex())


def password_fits(name, password):
    """Checks a password, in the same time whether or not there is such a user."""
    return check_password_hash(USERS[name]["password"] if name in USERS else DUMMY_HASH, password) and name in USERS


def signed_in():
    """Returns the name of the user, or None. A new password ends the sessions that began with the old one."""
    name = session.get("name")
    return name if name in USERS and session["epoch"] == USERS[name]["epoch"] else None


def user():
    """Returns the name of the user, who must be signed in."""
    return signed_in() or signed_out("Please sign in first.")


def signed_out(message):
    session.clear()
    raise Unauthorized(message)


UNAVAILABLE = "Signing in is not possible now. Please try again in a minute."


def two_step(method, path, body=None, known=(), message=UNAVAILABLE):
    """Calls two-step. If a status is neither a success nor in `known`, the user gets an error page and is not signed in."""
    headers = {"Authorization": f"Bearer {TWO_STEP_KEY}"}
    try:
        answer = requests.request(method, TWO_STEP_API + path, json=body, headers=headers, timeout=5)
    except requests.RequestException:
        raise ServiceUnavailable(message, retry_after=60) from None
    if answer.status_code == 429:
        wait_s = int(answer.headers.get("Retry-After", 60))
        raise TooManyRequests(f"Too many attempts. Try again in {-(-wait_s // 60)} min.", retry_after=wait_s)
    if not answer.ok and answer.status_code not in known:
        shop.logger.error("two-step answered %s: %s", answer.status_code, answer.text)  # the text contains no value of the request
        raise ServiceUnavailable(message, retry_after=60)
    return answer


# Cached for 5 minutes, and fetched again for an unknown kid. No cooldown is needed: results come only from two_step().
KEYS = jwt.PyJWKClient(f"{TWO_STEP_URL}/.well-known/jwks.json", lifespan=300, cooldown_duration=0, timeout=5)
USED, lock = {}, threading.Lock()  # jti: exp. Several processes need a shared table, with jti as its primary key.


def check(result, pending):
    """Returns the claims of a result; None if it is forged, expired, for another sign-in, or already used."""
    try:
        key = KEYS.get_signing_key_from_jwt(result)
        token = jwt.decode_complete(
            result, key, algorithms=["ES256"], issuer=TWO_STEP_URL, audience=PRODUCT, subject=USERS[pending["name"]]["id"],
            options={"require": ["iss", "aud", "sub", "exp", "jti"]}, leeway=30,  # seconds that two clocks may differ
        )
    except jwt.PyJWKClientConnectionError:
        raise ServiceUnavailable(UNAVAILABLE, retry_after=60) from None
    except jwt.PyJWTError:
        return None
    claims = token["payload"]
    if token["header"].get("typ") != "two-step+jwt" or claims.get("nonce") != pending["nonce"]:
        return None
    with lock:
        for jti in [jti for jti, exp in USED.items() if exp < time.time() - 60]:
            del USED[jti]
        if claims["jti"] in USED:
            return None
        USED[claims["jti"]] = claims["exp"]
    return claims


@shop.before_request
def reject_foreign_forms():
    """Refuses forms of other sites, by the header Origin."""
    if request.method == "POST" and request.headers.get("Origin") != SHOP_URL:
        raise Forbidden("This form is not the shop's.")


@shop.after_request
def add_headers(response):
    # Chrome also checks the redirects of a form: sign-in and settings redirect to two-step's pages.
    policy = f"default-src 'none'; form-action 'self' {TWO_STEP_URL}; frame-ancestors 'none'; base-uri 'none'"
    response.headers["Content-Security-Policy"] = policy
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "same-origin"  # with no-referrer, the shop's own forms have Origin: null
    return response


@shop.post("/sign-in")
def sign_in():
    name = request.form.get("name", "")
    if not password_fits(name, request.form.get("password", "")):
        signed_out("Name and password do not match.")
    session.clear()
    pending = {"name": name, "epoch": USERS[name]["epoch"], "password_at": datetime.now(timezone.utc).isoformat()}
    pending.update(state=secrets.token_urlsafe(), nonce=secrets.token_urlsafe())
    wanted = {"user": USERS[name]["id"], "return_url": f"{SHOP_URL}/2fa", "state": pending["state"], "nonce": pending["nonce"]}
    challenge = two_step("POST", "/v1/challenges", wanted).json()
    if challenge["status"] == "not_required":  # this user has not turned two-step verification on
        return begin_session(pending, {})
    session["pending"] = pending
    return redirect(challenge["url"], 303)


def begin_session(pending, claims):
    """Begins a new session. The content of the old session is deleted."""
    session.clear()
    session.update({key: pending[key] for key in ("name", "epoch", "password_at")})
    session.update(method=claims.get("method"), device=claims.get("device"))
    return redirect("/", 303)


ENDED = {
    "cancelled": "You cancelled. Nobody was signed in.",
    "locked": "Too many wrong codes. Wait a few minutes, then sign in again.",
    "denied": "This sign-in was refused. If it was not you, change your password.",
    "expired": "That took too long. Please sign in again.",
}


@shop.get("/2fa")
def handle_return():
    pending = session.get("pending")
    if not pending or request.args.get("state") != pending["state"]:
        raise Forbidden("This sign-in is over, or was begun in another browser. Please sign in again.")
    if "ticket" not in request.args:
        signed_out(ENDED.get(request.args.get("status"), ENDED["expired"]))
    answer = two_step("POST", "/v1/tickets/redeem", {"ticket": request.args["ticket"]}, known=(410,))
    claims = check(answer.json()["result"], pending) if answer.ok else None
    if claims is None or pending["epoch"] != USERS[pending["name"]]["epoch"]:
        signed_out("You were not signed in. Please sign in again.")
    return begin_session(pending, claims)


@shop.post("/settings")
def settings():
    name = user()
    wanted = {"user": USERS[name]["id"], "purpose": "settings", "password_at": session["password_at"]}
    session["settings_state"] = secrets.token_urlsafe()
    wanted.update(return_url=f"{SHOP_URL}/settings-done", state=session["settings_state"], display_name=name)
    answer = two_step("POST", "/v1/sessions", wanted, known=(422,))
    if answer.ok:
        return redirect(answer.json()["url"], 303)
    if answer.json()["field"] == "password_at":
        signed_out("You typed your password more than 10 minutes ago. Please sign in again.")
    shop.logger.error("two-step answered 422: %s", answer.text)  # such as a return_url that is not in its list
    raise ServiceUnavailable(UNAVAILABLE, retry_after=60)


@shop.get("/settings-done")
def settings_done():
    if "device" in request.args and request.args.get("state") == session.get("settings_state", ""):
        session["device"] = request.args["device"]  # the settings may have trusted this browser: sign-out ends that trust
    return redirect("/", 303)


@shop.post("/sign-out")
def sign_out():
    name, device = user(), session["device"]
    session.clear()  # first: two-step may be unreachable
    if device:
        message = "You are signed out. This browser is still trusted: sign in later and remove it in the settings."
        two_step("DELETE", f"/v1/users/{quote(USERS[name]['id'], safe='')}/devices/{device}", known=(404,), message=message)
    return redirect("/", 303)


@shop.post("/password")
def change_password():
    name, new = user(), request.form.get("new", "")
    if len(new) < 8 or not password_fits(name, request.form.get("old", "")):
        raise Forbidden("Nothing was changed: the old password is wrong, or the new one has fewer than 8 characters.")
    USERS[name].update(password=generate_password_hash(new), epoch=USERS[name]["epoch"] + 1)
    session.update(epoch=USERS[name]["epoch"], device=None)
    message = "Your password is changed, but browsers that you trusted still are. Please change it once more in a minute."
    two_step("POST", f"/v1/users/{quote(USERS[name]['id'], safe='')}/end", {"forget_devices": True}, known=(404,), message=message)
    return redirect("/", 303)


PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Shop</title>
{% if message %}<p role="alert">{{ message }}</p>{% endif %}
{% if name %}<h1>You are signed in as {{ name }}</h1><p>Second step: {{ session.method or "none" }}</p>
<form method="post" action="/settings"><button>Two-step verification</button></form>
<form method="post" action="/password"><label>Old password <input name="old" type="password"></label>
<label>New password <input name="new" type="password" minlength="8"></label><button>Change password</button></form>
<form method="post" action="/sign-out"><button>Sign out</button></form>
{% else %}<h1>Sign in</h1><form method="post" action="/sign-in"><label>Name <input name="name"></label>
<label>Password <input name="password" type="password"></label><button>Sign in</button></form>{% endif %}</html>"""


@shop.get("/")
def home(message=None):
    return render_template_string(PAGE, message=message, name=signed_in())


@shop.errorhandler(HTTPException)
def explain(problem):
    response = problem.get_response()  # with Retry-After
    response.data = home(problem.description)
    return response


if __name__ == "__main__":
    shop.run(port=urlsplit(SHOP_URL).port)  # for development; use a WSGI server in production
